# macosx-x86_64, on a Mac of either kind.
if(NOT CMAKE_HOST_SYSTEM_PROCESSOR STREQUAL x86_64)
  set(CMAKE_SYSTEM_NAME Darwin)
  set(CMAKE_SYSTEM_PROCESSOR x86_64)
endif()
# In the cache, where CMake would put its own.
set(CMAKE_OSX_ARCHITECTURES x86_64 CACHE STRING "")
# The first for both kinds; the same in pom.xml.
set(CMAKE_OSX_DEPLOYMENT_TARGET 11.0 CACHE STRING "")
