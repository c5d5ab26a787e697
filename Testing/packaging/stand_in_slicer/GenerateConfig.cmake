# Stand-in: the description that the Extensions Manager reads.
foreach(field HOMEPAGE CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  if(NOT EXTENSION_${field})
    message(FATAL_ERROR "EXTENSION_${field} is not set")
  endif()
  file(APPEND "${CMAKE_BINARY_DIR}/description.txt" "${field} ${EXTENSION_${field}}\n")
endforeach()
