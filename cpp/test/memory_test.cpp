#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "batchnorm4j.h"

namespace {

TEST(Memory, IsAlignedAndZero) {
  for (int64_t bytes : {1, 63, 64, 4097, 5 << 20}) {
    // Fresh pages are zero anyway; what was used before need not be.
    for (int time = 0; time < 3; time++) {
      int64_t address = bn_alloc(bytes);
      ASSERT_NE(0, address);
      EXPECT_EQ(0, address % 64);
      char* p = (char*)address;
      for (int64_t i = 0; i < bytes; i++) ASSERT_EQ(0, p[i]);
      std::memset(p, 0xff, (size_t)bytes);
      bn_free(address);
    }
  }
}

TEST(Memory, LargeArraysBeginApartInTheirPages) {
  for (int64_t bytes : {16 << 10, 300000, 3 << 20}) {
    std::vector<int64_t> arrays;
    for (int i = 0; i < 8; i++) arrays.push_back(bn_alloc(bytes));
    for (size_t i = 0; i < arrays.size(); i++) {
      for (size_t j = 0; j < i; j++) {
        int64_t apart = (arrays[i] - arrays[j]) & 4095;
        EXPECT_LE(512, std::min(apart, 4096 - apart));
      }
    }
    for (int64_t a : arrays) bn_free(a);
  }
}

TEST(Memory, RefusesWhatCannotBe) {
  EXPECT_EQ(0, bn_alloc(0));
  EXPECT_EQ(0, bn_alloc(-1));
  EXPECT_EQ(0, bn_alloc(INT64_MAX));
  bn_free(0);
}

}  // namespace
