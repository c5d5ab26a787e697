# Stand-in for the macros that package Python files; like Slicer's, they stop on an unknown argument or file.
include(CTest)

function(stand_in_copy)
  cmake_parse_arguments(COPY "" "DESTINATION" "FILES" ${ARGN})
  foreach(file IN LISTS COPY_FILES)
    if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
      message(FATAL_ERROR "no such file: ${CMAKE_CURRENT_SOURCE_DIR}/${file}")
    endif()
    configure_file("${CMAKE_CURRENT_SOURCE_DIR}/${file}" "${COPY_DESTINATION}/${file}" COPYONLY)
  endforeach()
endfunction()

# Copies to the build tree, and installs the whole folder there.
function(ctkMacroCompilePythonScript)
  cmake_parse_arguments(MY "NO_INSTALL_SUBDIR" "TARGET_NAME;DESTINATION_DIR;INSTALL_DIR" "SCRIPTS;RESOURCES" ${ARGN})
  foreach(needed TARGET_NAME SCRIPTS DESTINATION_DIR INSTALL_DIR)
    if(NOT MY_${needed})
      message(FATAL_ERROR "${needed} is mandatory")
    endif()
  endforeach()
  if(MY_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "unknown arguments: ${MY_UNPARSED_ARGUMENTS}")
  endif()
  stand_in_copy(DESTINATION "${MY_DESTINATION_DIR}" FILES ${MY_SCRIPTS} ${MY_RESOURCES})
  add_custom_target(Copy${MY_TARGET_NAME}PythonScriptFiles ALL)
  set(folder "${MY_DESTINATION_DIR}")
  if(MY_NO_INSTALL_SUBDIR)
    string(APPEND folder "/")
  endif()
  install(DIRECTORY "${folder}" DESTINATION "${MY_INSTALL_DIR}" COMPONENT RuntimeLibraries)
endfunction()

function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MY_UNPARSED_ARGUMENTS OR NOT MY_NAME)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule: NAME '${MY_NAME}', unknown: '${MY_UNPARSED_ARGUMENTS}'")
  endif()
  ctkMacroCompilePythonScript(
    TARGET_NAME ${MY_NAME}
    SCRIPTS "${MY_SCRIPTS}"
    RESOURCES "${MY_RESOURCES}"
    DESTINATION_DIR ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}
    INSTALL_DIR ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}
    NO_INSTALL_SUBDIR
    )
endfunction()

function(slicer_add_python_unittest)
  cmake_parse_arguments(MY "" "SCRIPT;TESTNAME_PREFIX" "SLICER_ARGS" ${ARGN})
  if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${MY_SCRIPT}")
    message(FATAL_ERROR "no such test: ${MY_SCRIPT}")
  endif()
endfunction()
