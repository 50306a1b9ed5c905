# linux-arm64 from another machine, by Debian's cross compiler (g++-aarch64-linux-gnu).
if(NOT CMAKE_HOST_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  set(CROSS_PROCESSOR aarch64)
  set(CROSS_TRIPLE aarch64-linux-gnu)
  include(${CMAKE_CURRENT_LIST_DIR}/cross-linux.cmake)
endif()
