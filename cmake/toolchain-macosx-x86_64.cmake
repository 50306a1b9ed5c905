# macosx-x86_64, on a Mac of either kind.
set(CROSS_PROCESSOR x86_64)
include(${CMAKE_CURRENT_LIST_DIR}/cross-macosx.cmake)
