// Which stores are taken follows the times that calls take.
#include "stores.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace {

// A problem whose output takes four calls to be in the caches again after stores around them.
struct Memory {
  int64_t through, around;
  int calls_since_around = 0;

  int64_t call(bool goes_around) {
    calls_since_around = goes_around ? 0 : calls_since_around + 1;
    if (goes_around) return around;
    return through * std::max(4, 11 - 2 * calls_since_around) / 4;
  }
};

// How many of so many calls go around.
int around_of(bn::StoreTrials& trials, Memory& memory, int calls, int64_t slower = 1) {
  int around = 0;
  for (int i = 0; i < calls; i++) {
    bn::StoreTrials::Call call = trials.next();
    around += call.around;
    trials.took(call, slower * memory.call(call.around));
  }
  return around;
}

TEST(Stores, TheFirstCallsTryBoth) {
  bn::StoreTrials trials;
  Memory memory{20000, 24000};
  EXPECT_EQ(0, around_of(trials, memory, 8));
  EXPECT_EQ(8, around_of(trials, memory, 8));
}

// What goes through much memory begins with what is likely faster there.
TEST(Stores, TheFirstCallsGoTheWayTheyAreTold) {
  bn::StoreTrials trials;
  Memory memory{30000, 20000};
  around_of(trials, memory, 100);
  trials.begin(true);
  EXPECT_EQ(40, around_of(trials, memory, 40));
  EXPECT_EQ(0, around_of(trials, memory, 3));
  EXPECT_EQ(100, around_of(trials, memory, 100));
  trials.begin(false);
  EXPECT_EQ(0, around_of(trials, memory, 8));
}

TEST(Stores, ALookEndsWhereItIsClearlySlower) {
  for (int64_t around : {24000, 40000}) {
    bn::StoreTrials trials;
    Memory memory{20000, around};
    EXPECT_EQ(0, around_of(trials, memory, 8));
    EXPECT_EQ(around == 40000 ? 3 : 8, around_of(trials, memory, 40));
  }
}

TEST(Stores, ThroughTheCachesWhereThatIsFasterOnceTheOutputIsThere) {
  bn::StoreTrials trials;
  Memory memory{20000, 30000};
  around_of(trials, memory, 16);
  EXPECT_LE(around_of(trials, memory, 10000), 250);
}

TEST(Stores, AroundTheCachesWhereThatIsFaster) {
  bn::StoreTrials trials;
  Memory memory{30000, 20000};
  around_of(trials, memory, 16);
  EXPECT_GE(around_of(trials, memory, 10000), 9750);
}

TEST(Stores, ALuckyCallDecidesNothing) {
  bn::StoreTrials trials;
  int around = 0;
  for (int i = 0; i < 1000; i++) {
    bn::StoreTrials::Call call = trials.next();
    around += call.around;
    trials.took(call, call.around ? 1600 : i % 5 == 0 ? 1400 : 2500);
  }
  EXPECT_GE(around, 850);
}

TEST(Stores, ASlowTimeOfBothCostsSomeLooks) {
  bn::StoreTrials trials;
  Memory memory{20000, 30000};
  around_of(trials, memory, 100);
  for (int i = 0; i < 20; i++) {
    EXPECT_LE(around_of(trials, memory, 200, 2), 32);
    EXPECT_LE(around_of(trials, memory, 200), 32);
  }
}

TEST(Stores, WhatHasBecomeSlowerThanTheOtherIsLeftSoon) {
  bn::StoreTrials trials;
  Memory memory{20000, 30000};
  around_of(trials, memory, 3000);
  memory.through = 40000;
  EXPECT_GE(around_of(trials, memory, 1000), 900);
}

TEST(Stores, WhatHasBecomeFasterIsFound) {
  bn::StoreTrials trials;
  Memory memory{20000, 30000};
  around_of(trials, memory, 3000);
  memory.around = 10000;
  around_of(trials, memory, 1100);
  EXPECT_GE(around_of(trials, memory, 1000), 900);
  memory.around = 30000;
  around_of(trials, memory, 1100);
  EXPECT_LE(around_of(trials, memory, 1000), 100);
}

}  // namespace
