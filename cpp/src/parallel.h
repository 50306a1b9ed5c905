// Who runs on how many threads.
//
// There is one team in the process: a leader thread of ours and the OpenMP threads it leads.
// libgomp keeps a pool for every thread that opens a parallel region; as only the leader does, 200
// calling threads leave one pool behind, not 200. A caller always works on its own tasks; the team
// joins in if it is free and awake in time. A caller that finds it busy works alone, and plans to
// where others are at work already (Caller).
#pragma once
#include <cstdint>
#include <type_traits>

namespace bn {

// No call has more, however many are allowed.
constexpr int kMostWorkers = 256;

// A call that wants several threads, from enter() to its end.
class Caller {
 public:
  Caller() = default;
  ~Caller();
  Caller(const Caller&) = delete;
  Caller& operator=(const Caller&) = delete;

  // How many others are at work: cores that are not there to be shared.
  int enter();

 private:
  bool entered_ = false;
};

// Whether a call that goes through so many bytes is better off alone than waking the team, which is
// asleep: calls after a rest are, until they have together been worth it. A rest is counted from
// the end of the last Caller.
bool team_sleeps(int64_t bytes);

// In which order each worker goes through its own tasks.
enum class Order { kFromBegin, kFromEnd };

// Tasks [0, count), each run once, by at most `threads` workers; run(task, worker) with worker <
// threads, worker 0 being the caller. Neighbouring tasks go to one worker where speeds allow, the
// same ones every time. Returns when all are done. run must not throw.
using Run = void (*)(void* context, int64_t task, int worker);
void run_tasks(int threads, int64_t count, Order order, Run run, void* context);

template <class F>
void parallel_for(int threads, int64_t count, Order order, F&& f) {
  if (threads <= 1 || count <= 1) {
    for (int64_t i = 0; i < count; i++) f(order == Order::kFromEnd ? count - 1 - i : i, 0);
    return;
  }
  run_tasks(
      threads, count, order,
      [](void* context, int64_t task, int worker) {
        (*static_cast<std::remove_reference_t<F>*>(context))(task, worker);
      },
      &f);
}
template <class F>
void parallel_for(int threads, int64_t count, F&& f) {
  parallel_for(threads, count, Order::kFromBegin, f);
}

}  // namespace bn
