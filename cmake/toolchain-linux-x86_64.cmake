# linux-x86_64 from another machine, by Debian's cross compiler (g++-x86-64-linux-gnu).
if(NOT CMAKE_HOST_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(CROSS_PROCESSOR x86_64)
  set(CROSS_TRIPLE x86_64-linux-gnu)
  include(${CMAKE_CURRENT_LIST_DIR}/cross-linux.cmake)
endif()
