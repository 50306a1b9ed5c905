# Warnings are errors.
function(bn_set_warnings target)
  target_compile_options(${target} PRIVATE
    -Wall -Wextra -Wshadow -Wvla -Wnon-virtual-dtor -Woverloaded-virtual -Werror)
endfunction()
