#include <gtest/gtest.h>

#include "batchnorm4j.h"

namespace {

TEST(Memory, IsAlignedAndZero) {
  for (int64_t bytes : {1, 63, 64, 4097, 5 << 20}) {
    int64_t address = bn_alloc(bytes);
    ASSERT_NE(0, address);
    EXPECT_EQ(0, address % 64);
    const char* p = (const char*)address;
    for (int64_t i = 0; i < bytes; i++) ASSERT_EQ(0, p[i]);
    bn_free(address);
  }
}

TEST(Memory, RefusesWhatCannotBe) {
  EXPECT_EQ(0, bn_alloc(0));
  EXPECT_EQ(0, bn_alloc(-1));
  EXPECT_EQ(0, bn_alloc(INT64_MAX));
  bn_free(0);
}

}  // namespace
