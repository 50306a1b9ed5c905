// The thread contract: every task runs once, one team at a time, no pool per caller.
#include "parallel.h"

#include <gtest/gtest.h>

#if defined(__linux__)
#include <sched.h>
#include <sys/resource.h>
#endif

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace {

using bn::Order;

TEST(Parallel, RunsEveryTaskOnce) {
  for (int threads : {1, 2, 3, 7}) {
    for (int64_t count : {0, 1, 2, 5, 1000}) {
      for (int repeat = 0; repeat < 50; repeat++) {
        const Order order = repeat % 2 == 0 ? Order::kFromBegin : Order::kFromEnd;
        std::vector<std::atomic<int>> ran((size_t)count);
        bn::parallel_for(threads, count, order, [&](int64_t task, int worker) {
          EXPECT_LT(worker, threads);
          ran[(size_t)task]++;
        });
        for (auto& r : ran) ASSERT_EQ(1, r);
      }
    }
  }
}

// What a worker did last in one pass it does first in the next.
TEST(Parallel, FromTheEndAWorkerBeginsWithTheLastOfItsOwnTasks) {
  constexpr int64_t kCount = 100;
  for (int threads : {1, 2, 3}) {
    std::vector<std::vector<int64_t>> done((size_t)threads);
    std::atomic<bool> begun{false};
    bn::parallel_for(threads, kCount, Order::kFromEnd, [&](int64_t task, int worker) {
      done[(size_t)worker].push_back(task);
      if (worker == 0) begun = true;
      while (!begun) std::this_thread::yield();  // or others have taken the caller's tasks
    });
    const int64_t own = kCount / threads;
    const std::vector<int64_t>& callers = done[0];
    EXPECT_EQ(own - 1, callers[0]) << threads;
    for (size_t i = 1; i < callers.size() && callers[i] < own; i++) {
      EXPECT_LT(callers[i], callers[i - 1]) << threads;
    }
  }
}

TEST(Parallel, TwoWorkersDoWorkAtTheSameTime) {
  // Each of two tasks waits for the other to be under way, which one worker alone would do in vain;
  // a team that is slow to wake, on a busy machine, gets a minute of chances.
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  for (int chance = 0; chance < 1000 || std::chrono::steady_clock::now() < end; chance++) {
    std::atomic<int> inside{0};
    std::atomic<bool> met{false};
    bn::parallel_for(2, 2, [&](int64_t, int) {
      inside++;
      for (int i = 0; i < 100000 && !met; i++) {
        if (inside == 2) met = true;
      }
      inside--;
    });
    if (met) return;
  }
  FAIL() << "no second thread ever joined";
}

TEST(Parallel, TheTeamSleepsUntilCallsAreWorthWakingIt) {
  constexpr int64_t kWorth = 4 << 20;
  auto sleep = [] { std::this_thread::sleep_for(std::chrono::milliseconds(1)); };
  // A call of no time, or that goes on for a while.
  auto lets_it_sleep = [&](int64_t bytes, bool goes_on = false) {
    bn::Caller caller;
    caller.enter();
    bool lets = bn::team_sleeps(bytes);
    if (goes_on) sleep();
    return lets;
  };
  bn::parallel_for(2, 2, [](int64_t, int) {});
  int waits = 0;
  do sleep();
  while (!lets_it_sleep(1) && ++waits < 1000);
  ASSERT_LT(waits, 1000);
  sleep();
  EXPECT_FALSE(lets_it_sleep(kWorth)) << "one large call is worth it";
  // Small calls are after a while, if none of them comes after a rest, and go on to be; however
  // long they take themselves.
  for (bool goes_on : {false, true}) {
    bool woken = false;
    for (int chance = 0; chance < 1000 && !woken; chance++) {
      sleep();
      EXPECT_TRUE(lets_it_sleep(kWorth - 2, goes_on));
      EXPECT_TRUE(lets_it_sleep(1, goes_on));
      woken = !lets_it_sleep(1, goes_on) && !lets_it_sleep(1, goes_on);
    }
    EXPECT_TRUE(woken);
  }
}

#if defined(__linux__)
// In a process of its own: what it ends with is whether the leader took part without helpers.
[[noreturn]] void call_where_no_thread_can_be_started() {
  std::atomic<bool> joined{false};
  auto call = [&](int threads) {
    bn::parallel_for(threads, 64, [&](int64_t, int worker) {
      if (worker > 0) joined = true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    });
  };
  for (int chance = 0; chance < 1000 && !joined; chance++) call(2);
  if (!joined) std::exit(2);
  // No address space is left for another stack.
  int64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const rlimit limit = {(rlim_t)pages * 4096 + (1 << 20), (rlim_t)pages * 4096 + (1 << 20)};
  if (setrlimit(RLIMIT_AS, &limit) != 0) std::exit(3);
  joined = false;
  for (int chance = 0; chance < 1000 && !joined; chance++) call(8);
  std::exit(joined ? 0 : 4);
}

TEST(Parallel, GoesOnWhereNoThreadCanBeStarted) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the sanitizer needs address space of its own";
#endif
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(call_where_no_thread_can_be_started(), testing::ExitedWithCode(0), "");
}
#endif

TEST(Parallel, CallersCountEachOther) {
  bn::Caller idle, first, second;
  EXPECT_EQ(0, first.enter());
  EXPECT_EQ(1, second.enter());
  {
    bn::Caller third;
    EXPECT_EQ(2, third.enter());
  }
  bn::Caller fourth;
  EXPECT_EQ(2, fourth.enter());
}

#if defined(__linux__)
TEST(Parallel, TheTeamWakesApartFromItsCaller) {
  cpu_set_t mine;
  ASSERT_EQ(0, sched_getaffinity(0, sizeof mine, &mine));
  if (CPU_COUNT(&mine) < 2) GTEST_SKIP() << "needs two cores";
  int joined = 0, beside = 0;
  for (int rest = 0; rest < 400 && joined < 40; rest++) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));  // the team is asleep by then
    const int callers = sched_getcpu();
    std::atomic<int> teams{-1};
    bool everywhere = true;
    bn::parallel_for(2, 2, [&](int64_t, int worker) {
      if (worker == 1) {
        cpu_set_t its;
        everywhere = sched_getaffinity(0, sizeof its, &its) == 0 && CPU_EQUAL(&its, &mine);
        teams = sched_getcpu();
      }
      const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(20);
      while (teams < 0 && std::chrono::steady_clock::now() < end) {
      }
    });
    if (teams < 0) continue;
    joined++;
    beside += teams == callers;
    ASSERT_TRUE(everywhere) << "the team may no longer run on all cores";
  }
  ASSERT_GE(joined, 1);
  EXPECT_LE(beside, joined / 2) << "of " << joined;
}

TEST(Parallel, TheTeamWakesApartFromWhicheverCallerFindsItAwake) {
  cpu_set_t mine;
  ASSERT_EQ(0, sched_getaffinity(0, sizeof mine, &mine));
  if (CPU_COUNT(&mine) < 2) GTEST_SKIP() << "needs two cores";
  auto pin = [](int core) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    return sched_setaffinity(0, sizeof one, &one) == 0;
  };
  bn::parallel_for(2, 2, [](int64_t, int) {});  // a leader that may run on all cores
  std::vector<int> cores;
  for (int core = 0; core < CPU_SETSIZE && cores.size() < 2; core++) {
    if (CPU_ISSET(core, &mine)) cores.push_back(core);
  }
  int joined = 0, beside = 0;
  for (int rest = 0; rest < 200 && joined < 20; rest++) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));  // the team is asleep by then
    // Over before the team is awake.
    ASSERT_TRUE(pin(cores[0]));
    bn::parallel_for(2, 2, [](int64_t, int) {});
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    ASSERT_TRUE(pin(cores[1]));
    std::atomic<int> teams{-1};
    bn::parallel_for(2, 2, [&](int64_t, int worker) {
      if (worker == 1) teams = sched_getcpu();
      const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(20);
      while (teams < 0 && std::chrono::steady_clock::now() < end) {
      }
    });
    if (teams < 0) continue;
    joined++;
    beside += teams == cores[1];
  }
  ASSERT_EQ(0, sched_setaffinity(0, sizeof mine, &mine));
  ASSERT_GE(joined, 1);
  EXPECT_LE(beside, joined / 2) << "of " << joined;
}

int64_t threads_of_process() {
  std::ifstream file("/proc/self/status");
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind("Threads:", 0) == 0) return std::stoll(line.substr(8));
  }
  return -1;
}

TEST(Parallel, ManyCallersShareOneTeam) {
  constexpr int kCallers = 64, kThreads = 4;
  std::atomic<int64_t> sum{0}, most{0};
  std::atomic<int> waiting{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < kCallers; i++) {
    callers.emplace_back([&] {
      waiting++;
      while (waiting < kCallers) std::this_thread::yield();
      for (int call = 0; call < 20; call++) {
        bn::parallel_for(kThreads, 100, [&](int64_t task, int) { sum += task; });
      }
      int64_t now = threads_of_process(), seen = most;
      while (now > seen && !most.compare_exchange_weak(seen, now)) {
      }
    });
  }
  for (std::thread& t : callers) t.join();
  EXPECT_EQ(int64_t{kCallers} * 20 * 4950, sum);
  // The callers, main, and one team: its leader and kThreads - 2 more, or 7 - 1 of an earlier test,
  // of which some may take a while to end. A pool for each caller would be two threads or more.
  EXPECT_LE(most, kCallers + 1 + kCallers / 2);
}
#endif

}  // namespace
