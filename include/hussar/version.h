// The version of Hussar: the one place where it is written. CMake reads it from here.
#pragma once

#define HUSSAR_VERSION "0.1.0"
