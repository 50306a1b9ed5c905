# macosx-arm64, on a Mac of either kind.
set(CROSS_PROCESSOR arm64)
include(${CMAKE_CURRENT_LIST_DIR}/cross-macosx.cmake)
