#include "tuning.h"

#include "dispatch.h"

namespace bn {

// In a file of its own: the tests have another one.
const Tuning& tuning() {
  static const Tuning& of_this_cpu = is_amd() ? kAmdTuning : kUsualTuning;
  return of_this_cpu;
}

}  // namespace bn
