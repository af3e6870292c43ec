// A share of a static partition: share `index` of `count` equal ones, 0 <= index < count.
#pragma once

namespace hussar::cpu {

struct Share {
  int index = 0;
  int count = 1;
};

}  // namespace hussar::cpu
