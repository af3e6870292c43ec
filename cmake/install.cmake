# cmake --install: the program, both libraries, the public headers, and a package for find_package(hussar).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(HUSSAR_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/hussar)
install(TARGETS hussar_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS hussar hussar_shared EXPORT hussar_targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/hussar DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT hussar_targets NAMESPACE hussar:: FILE hussar-targets.cmake DESTINATION ${HUSSAR_PACKAGE_DIR})
configure_package_config_file(cmake/hussar-config.cmake.in ${CMAKE_BINARY_DIR}/hussar-config.cmake
                              INSTALL_DESTINATION ${HUSSAR_PACKAGE_DIR})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/hussar-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/hussar-config.cmake ${CMAKE_BINARY_DIR}/hussar-config-version.cmake
        DESTINATION ${HUSSAR_PACKAGE_DIR})
