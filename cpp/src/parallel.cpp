#include "parallel.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__linux__)
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(_WIN32)
#include <windows.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace bn {
namespace {

constexpr int kSpins = 2000;  // some 50 us of waiting awake for the next call, then sleep

// A thread needs some 80 us to wake up on a virtual machine, 30 of which are its caller's. A core
// goes through so many bytes in that time.
constexpr int64_t kWorthWaking = 4 << 20;
constexpr std::chrono::microseconds kRest{100};  // and longer without a call is a rest

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// Wakes a thread elsewhere than on the waker's core. Linux takes an idle core of a virtual machine
// for one that its host has taken away, wakes the thread on the core of who wakes it, and needs
// milliseconds to see that another is free: two threads are then slower than one
// (docs/performance.md, lesson 28).
#if defined(__linux__)
class Apart {
 public:
  // By the thread, before it sleeps for the first time.
  void own() { thread_ = (pid_t)syscall(SYS_gettid); }

  // By the waker, while the thread sleeps: it may be kept from another core still, of a waker whose
  // call was over before it was awake.
  void keep() {
    const int core = sched_getcpu();
    if (core < 0 || core == kept_from_) return;
    if (kept_from_ < 0 && sched_getaffinity(thread_, sizeof all_, &all_) != 0) return;
    cpu_set_t others = all_;
    CPU_CLR(core, &others);
    if (CPU_COUNT(&others) > 0 && sched_setaffinity(thread_, sizeof others, &others) == 0) {
      kept_from_ = core;
    }
  }

  // By the thread, when it is awake.
  void release() {
    if (kept_from_ >= 0 && sched_setaffinity(thread_, sizeof all_, &all_) == 0) kept_from_ = -1;
  }

 private:
  pid_t thread_ = 0;
  cpu_set_t all_;       // of the thread, while it is kept from a core
  int kept_from_ = -1;  // the core, -1: none
};
#else
struct Apart {
  void own() {}
  void keep() {}
  void release() {}
};
#endif

// The team's threads never end, so the code they run must stay when a JVM's class loader goes. On
// Linux the linker sees to that (-z nodelete).
void stay_loaded() {
#if defined(_WIN32)
  HMODULE library;
  GetModuleHandleExA(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN,
                     reinterpret_cast<LPCSTR>(&stay_loaded), &library);
#endif
}

#if defined(_OPENMP)
// How many threads can be started now, of so many.
int threads_to_be_had(int wanted) {
  std::mutex gate;
  std::unique_lock<std::mutex> closed(gate);
  std::vector<std::thread> threads;
  try {
    threads.reserve((size_t)wanted);
    for (int i = 0; i < wanted; i++) {
      threads.emplace_back([&gate] { std::lock_guard<std::mutex> open(gate); });
    }
  } catch (const std::exception&) {
    // No more of them.
  }
  closed.unlock();
  for (std::thread& thread : threads) thread.join();
  return (int)threads.size();
}
#endif

// Tasks of one worker, which others may take from when theirs are done.
struct alignas(64) Range {
  std::atomic<int64_t> taken;
  int64_t begin, end;
};

struct Job {
  Run run;
  void* context;
  int workers;
  Order order;
  Range ranges[kMostWorkers];

  void work(int worker) {
    for (int i = 0; i < workers; i++) {
      Range& range = ranges[(worker + i) % workers];
      for (;;) {
        int64_t taken = range.taken.fetch_add(1, std::memory_order_relaxed);
        if (taken >= range.end - range.begin) break;
        run(context, order == Order::kFromEnd ? range.end - 1 - taken : range.begin + taken,
            worker);
      }
    }
  }
};

class Team {
 public:
  bool lets_sleep(int64_t bytes) {
    if (!asleep_.load(std::memory_order_relaxed)) return false;
    bool rested = now() - rests_since_.load(std::memory_order_relaxed) > nanoseconds(kRest).count();
    int64_t alone = (rested ? 0 : alone_.load(std::memory_order_relaxed)) + bytes;
    // Kept beyond that: the team on its way has to find a call that wants it.
    alone_.store(alone, std::memory_order_relaxed);
    return alone < kWorthWaking;
  }

  // A call that could have used it is over.
  void rests() { rests_since_.store(now(), std::memory_order_relaxed); }

  // Runs the tasks together with the team, or returns false when it is busy.
  bool run(int threads, int64_t count, Order order, Run task, void* context) {
    if (busy_.test_and_set(std::memory_order_acquire)) return false;
    if (!started_ && !start()) {
      busy_.clear(std::memory_order_release);
      return false;
    }
    job_.run = task;
    job_.context = context;
    job_.workers = threads;
    job_.order = order;
    for (int i = 0; i < threads; i++) {
      job_.ranges[i].taken.store(0, std::memory_order_relaxed);
      job_.ranges[i].begin = count * i / threads;
      job_.ranges[i].end = count * (i + 1) / threads;
    }
    open();
    job_.work(0);
    // A leader that has joined may still be at a task; one that has not will find the job closed.
    state_.fetch_and(~kOpen, std::memory_order_acq_rel);
    // Its core may be wanted by the very thread it waits for.
    for (int i = 0; (state_.load(std::memory_order_acquire) & kJoined) != 0; i++) {
      if (i < kSpins) {
        pause();
      } else {
        std::this_thread::yield();
      }
    }
    busy_.clear(std::memory_order_release);
    return true;
  }

 private:
  // state_: is the leader inside the job, may it be joined, and the job's number above that.
  static constexpr uint64_t kJoined = 1, kOpen = 2, kNumber = 4;

  using nanoseconds = std::chrono::nanoseconds;
  static int64_t now() {
    return nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
  }

  bool start() {
    stay_loaded();
    try {
      std::thread([this] { lead(); }).detach();
    } catch (const std::exception&) {
      return false;
    }
    started_ = true;
    return true;
  }

  void open() {
    number_ += kNumber;
    state_.store(number_ | kOpen, std::memory_order_seq_cst);
    if (asleep_.load(std::memory_order_seq_cst)) {
      std::lock_guard<std::mutex> lock(mutex_);
      if (asleep_.load(std::memory_order_relaxed)) {
        apart_.keep();
        wake_.notify_one();
      }
    }
  }

  [[noreturn]] void lead() {
    apart_.own();
    uint64_t last = 0;  // the job worked at last: not to be joined again while its caller is busy
    for (;;) {
      uint64_t seen = wait(last);
      if (!state_.compare_exchange_strong(seen, seen | kJoined, std::memory_order_acq_rel))
        continue;
      last = seen;
      help(job_.workers - 1);
      state_.fetch_and(~kJoined, std::memory_order_acq_rel);
    }
  }

#if defined(_OPENMP)
  // With the OpenMP threads, where more than one helper is wanted. libgomp ends the process when it
  // cannot start a thread, so before it has to start more than ever before it is tried whether
  // that many can be had, and as many again: those of the trial count for a while after their end.
  // It ends threads that a team does without and then starts them again, so teams do not shrink.
  void help(int helpers) {
    if (helpers > tried_) {
      tried_ = helpers;
      helpers_ = std::max(helpers_, 1 + threads_to_be_had(2 * (helpers - 1)) / 2);
    }
    if (helpers == 1 || helpers_ == 1) return job_.work(1);
#pragma omp parallel num_threads(helpers_)
    if (int helper = omp_get_thread_num(); helper < helpers) job_.work(1 + helper);
  }
#else
  void help(int) { job_.work(1); }
#endif

  // The state of an open job other than `last`: awake for a while, then asleep.
  uint64_t wait(uint64_t last) {
    uint64_t seen;
    auto fresh = [&] {
      seen = state_.load(std::memory_order_seq_cst);
      return (seen & kOpen) != 0 && seen != last;
    };
    for (int i = 0; i < kSpins; i++) {
      if (fresh()) return seen;
      pause();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    asleep_.store(true, std::memory_order_seq_cst);
    wake_.wait(lock, fresh);
    asleep_.store(false, std::memory_order_relaxed);
    apart_.release();
    return seen;
  }

  std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
  bool started_ = false;
  std::atomic<uint64_t> state_{0};
  uint64_t number_ = 0;
  std::atomic<bool> asleep_{false};
  // Bytes of the calls since the last rest that found it asleep, and when the last call ended.
  std::atomic<int64_t> alone_{0}, rests_since_{0};
  std::mutex mutex_;
  Apart apart_;  // guarded by mutex_
  std::condition_variable wake_;
  Job job_;
#if defined(_OPENMP)
  int tried_ = 1, helpers_ = 1;  // the leader's own: itself alone needs no trial
#endif
};

// Never destroyed: its leader may outlive main.
Team& team() {
  alignas(Team) static unsigned char memory[sizeof(Team)];
  static Team* const the_team = new (memory) Team;
  return *the_team;
}

std::atomic<int> callers{0};

}  // namespace

int Caller::enter() {
  entered_ = true;
  return callers.fetch_add(1, std::memory_order_relaxed);
}

Caller::~Caller() {
  if (!entered_) return;
  callers.fetch_sub(1, std::memory_order_relaxed);
  team().rests();
}

bool team_sleeps(int64_t bytes) { return team().lets_sleep(bytes); }

void run_tasks(int threads, int64_t count, Order order, Run run, void* context) {
  int workers = (int)std::min<int64_t>({threads, count, kMostWorkers});
  if (!team().run(workers, count, order, run, context)) {
    parallel_for(1, count, order, [&](int64_t task, int worker) { run(context, task, worker); });
  }
}

}  // namespace bn
