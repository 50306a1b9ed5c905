# windows-x86_64 from another machine, by mingw-w64 (g++-mingw-w64-x86-64-posix).
if(NOT CMAKE_HOST_WIN32)
  set(CMAKE_SYSTEM_NAME Windows)
  set(CMAKE_SYSTEM_PROCESSOR x86_64)
  set(CMAKE_C_COMPILER x86_64-w64-mingw32-gcc-posix)
  set(CMAKE_CXX_COMPILER x86_64-w64-mingw32-g++-posix)
  # Nothing of the machine that builds; the compiler knows its own libraries.
  set(CMAKE_FIND_ROOT_PATH /usr/x86_64-w64-mingw32)
  set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
  set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
  set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
  set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
  # One file, without mingw's own DLLs.
  set(CMAKE_EXE_LINKER_FLAGS_INIT -static)
  set(OpenMP_gomp_LIBRARY -l:libgomp.a CACHE STRING "Not the import library of libgomp-1.dll")
endif()
