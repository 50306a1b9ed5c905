# For toolchain files: macOS on CROSS_PROCESSOR, on a Mac of either kind.
if(NOT CMAKE_HOST_SYSTEM_PROCESSOR STREQUAL CROSS_PROCESSOR)
  set(CMAKE_SYSTEM_NAME Darwin)
  set(CMAKE_SYSTEM_PROCESSOR ${CROSS_PROCESSOR})
endif()
# In the cache, where CMake would put its own.
set(CMAKE_OSX_ARCHITECTURES ${CROSS_PROCESSOR} CACHE STRING "")
# The first for both kinds; the same in pom.xml.
set(CMAKE_OSX_DEPLOYMENT_TARGET 11.0 CACHE STRING "")
