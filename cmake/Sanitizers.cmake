# -DBN_SANITIZE=address,undefined or =thread. A finding ends the program with an error.
set(BN_SANITIZE "" CACHE STRING "Sanitizers to build with, comma-separated")
if(BN_SANITIZE)
  add_compile_options(-fsanitize=${BN_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
  add_link_options(-fsanitize=${BN_SANITIZE})
endif()
