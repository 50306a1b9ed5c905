# linux-x86_64 from another machine, by Debian's cross compiler (g++-x86-64-linux-gnu).
if(NOT CMAKE_HOST_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(CMAKE_SYSTEM_NAME Linux)
  set(CMAKE_SYSTEM_PROCESSOR x86_64)
  set(CMAKE_C_COMPILER x86_64-linux-gnu-gcc)
  set(CMAKE_CXX_COMPILER x86_64-linux-gnu-g++)
  # Nothing of the machine that builds; the compiler knows its own libraries.
  set(CMAKE_FIND_ROOT_PATH /usr/x86_64-linux-gnu)
  set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
  set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
  set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
  set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
endif()
