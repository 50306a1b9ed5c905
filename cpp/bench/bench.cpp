// The kernels against the limits of memory and against oneDNN, in one process, interleaved.
//
//   bench [--quick] [--threads N] [--isa 0|1|2] [--only SUBSTRING] [--csv FILE]
//
// Every row measures, round by round and in turn: copy (1 read, 1 write), triad (2 reads, 1 write)
// and read, each the better of ordinary and non-temporal stores; our kernel; oneDNN where built
// with it. Medians of the rounds; ratios are of medians of the same rounds. docs/benchmarking.md.
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "../src/dispatch.h"
#include "../src/parallel.h"
#include "batchnorm4j.h"
#include "yardstick.h"
#if defined(BN_WITH_DNNL)
#include "dnnl_peer.h"
#endif

namespace {

struct Options {
  bool quick = false;
  int threads = 2;
  int isa = bn_detect_isa();
  const char* only = "";
  const char* csv = nullptr;
};

struct Shape {
  const char* name;
  int64_t n, c, s;
  bool variants = false;
};

// One thing to measure: a name and what to run.
struct Runner {
  std::string name;
  std::function<void()> run;
};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// CPU seconds of all threads but this one. Each is asked: the sum for the process is brought up to
// date only every few milliseconds for those on other cores.
double seconds_of_others() {
  double sum = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    auto id = (pid_t)std::stol(task.path().filename());
    timespec t{};
    // What pthread_getcpuclockid makes of a thread's number (linux/posix-timers.h).
    if (id != gettid() && clock_gettime(~id * 8 | 6, &t) == 0) {
      sum += (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
    }
  }
  return sum;
}

// Waits until nobody else computes: OpenMP's threads spin for milliseconds when they are done, and
// must not do so in another's turn. As the race from Java does.
void calm() {
  for (double end = now() + 0.02; now() < end;) {
    double before = seconds_of_others();
    for (double start = now(); now() < start + 1e-4;) {
    }
    if (seconds_of_others() - before < 1e-5) return;
  }
}

// Median seconds per run of each, all taken in turn: drift hits them alike. An eighth of a turn is
// not measured: it wakes the contender's threads and brings its data back.
std::map<std::string, double> measure(std::vector<Runner>& runners, int threads, double budget) {
  std::map<std::string, std::vector<double>> times;
  std::map<std::string, int> repeats;
  for (Runner& r : runners) {
    r.run();
    double t = now();
    r.run();
    double once = std::max(now() - t, 1e-8);
    repeats[r.name] = (int)std::clamp(1e-3 / once, 1.0, 20000.0);
  }
  double end = now() + budget;
  int rounds = 0;
  while (rounds < 5 || now() < end) {
    for (Runner& r : runners) {
      int k = repeats[r.name];
      if (threads > 1) calm();
      for (int i = 0; i < (k + 7) / 8; i++) r.run();
      double t = now();
      for (int i = 0; i < k; i++) r.run();
      times[r.name].push_back((now() - t) / k);
    }
    if (++rounds >= 400) break;
  }
  std::map<std::string, double> medians;
  for (auto& [name, v] : times) {
    std::nth_element(v.begin(), v.begin() + v.size() / 2, v.end());
    medians[name] = v[v.size() / 2];
  }
  return medians;
}

struct Buffer {
  int64_t address;
  explicit Buffer(int64_t bytes) : address(bn_alloc(bytes)) {
    if (address == 0) std::abort();
  }
  Buffer(const Buffer&) = delete;
  ~Buffer() { bn_free(address); }
  float* f() { return (float*)address; }
};

void fill(float* p, int64_t n, float shift) {
  uint32_t seed = 1;
  for (int64_t i = 0; i < n; i++) {
    seed = seed * 1664525u + 1013904223u;
    p[i] = (float)(int32_t)seed * 0x1p-31f + shift;
  }
}

// What of our kernels is run, besides the layout.
struct Variant {
  const char* name;
  int dtype = bn_f32, activation = bn_identity;
  bool residual = false;
  int isa = -1;  // -1: the one of the options
};

// Ratios of all cells to a peer, for their geometric mean.
std::map<std::string, std::vector<double>> ratios;

class Bench {
 public:
  Bench(const Options& options, const Shape& shape)
      : o_(options),
        shape_(shape),
        count_(shape.n * shape.c * shape.s),
        x_(count_ * 4),
        y_(count_ * 4),
        dy_(count_ * 4),
        dx_(count_ * 4),
        residual_(count_ * 4) {
    fill(x_.f(), count_, 0.5f);
    fill(dy_.f(), count_, 0);
    fill(residual_.f(), count_, 0);
    fill(weight_.f(), c(), 1);
    fill(running_var_.f(), c(), 2);
  }

  void run(FILE* csv) {
    std::vector<Runner> runners;
    bn::Yardstick yardstick(o_.threads, count_);
    runners.push_back({"copy", [&] { yardstick.copy(y_.f(), x_.f(), false); }});
    runners.push_back({"copy_nt", [&] { yardstick.copy(y_.f(), x_.f(), true); }});
    runners.push_back({"triad", [&] { yardstick.triad(dx_.f(), x_.f(), dy_.f(), false); }});
    runners.push_back({"triad_nt", [&] { yardstick.triad(dx_.f(), x_.f(), dy_.f(), true); }});
    runners.push_back({"read", [&] { yardstick.read(x_.f()); }});
    for (int layout : {bn_ncs, bn_nsc}) {
      if (shape_.s == 1 && layout == bn_ncs) continue;
      for (const char* op : kOps) runners.push_back(ours(op, layout, {""}));
    }
#if defined(BN_WITH_DNNL)
    int64_t n = shape_.n, s = shape_.s;
    bn::DnnlPeer ncs(o_.threads, n, c(), s, false, x_.f(), y_.f(), dy_.f(), dx_.f());
    bn::DnnlPeer nsc(o_.threads, n, c(), s, true, x_.f(), y_.f(), dy_.f(), dx_.f());
    for (auto& [peer, tag] : {std::pair{&ncs, "ncs"}, std::pair{&nsc, "nsc"}}) {
      if (s == 1 && peer == &ncs) continue;
      std::string suffix = std::string("_") + tag + "_dnnl";
      bn::DnnlPeer* p = peer;
      runners.push_back({"infer" + suffix, [p] { p->infer(); }});
      runners.push_back({"train" + suffix, [p] { p->train(); }});
      runners.push_back({"backward" + suffix, [p] { p->backward(); }});
    }
#endif
    auto m = measure(runners, o_.threads, o_.quick ? 0.5 : 4.0);
    double copy = std::min(m["copy"], m["copy_nt"]), triad = std::min(m["triad"], m["triad_nt"]);
    double read = m["read"];
    std::printf("%-16s %6.1f MB  copy %8.1f us (nt %.2f)  triad %8.1f (nt %.2f)  read %8.1f\n",
                shape_.name, (double)count_ * 4e-6, copy * 1e6, m["copy_nt"] / m["copy"],
                triad * 1e6, m["triad_nt"] / m["triad"], read * 1e6);
    for (auto& [name, seconds] : m) {
      bool last = name.find("nsc") != std::string::npos, first = name.find("ncs") != name.npos;
      if (!(first || last) || name.find("dnnl") != std::string::npos) continue;
      bool backward = name[0] == 'b', train = name[0] == 't';
      // Whether what a channel reads stays in the L2 between the two passes.
      bool once = first && shape_.n * shape_.s * 4 * (backward ? 2 : 1) <= bn::l2_bytes() * 3 / 4;
      double limit = backward ? (once ? triad : triad + 2 * read)
                     : train  ? (once ? copy : read + copy)
                              : copy;
      // The goals beyond the caches; what fits them has no such limit.
      double goal = backward ? 0.85 : train ? 0.90 : 0.95;
      bool beyond = count_ * 4 > 4 * bn::l2_bytes() * o_.threads;
      const char* mark = !beyond ? " " : limit / seconds >= goal ? "pass" : "miss";
      double peer = m.count(name + "_dnnl") ? m[name + "_dnnl"] : 0;
      std::printf("  %-14s %9.1f us   %.2f of limit %-4s", name.c_str(), seconds * 1e6,
                  limit / seconds, mark);
      if (peer > 0) {
        std::printf("   %5.2f x oneDNN %s", peer / seconds, peer >= seconds ? "" : "miss");
        ratios[name].push_back(peer / seconds);
      }
      std::printf("\n");
      if (csv) {
        std::fprintf(csv, "%s,%s,%d,%.4f,%.4f,%.4f,%.4f,%.4f\n", shape_.name, name.c_str(),
                     o_.threads, seconds * 1e6, copy * 1e6, triad * 1e6, read * 1e6, peer * 1e6);
      }
    }
    std::fflush(stdout);
  }

  // Fusions, storage types and instruction sets against the plain f32 kernel.
  void run_variants() {
    // Words that are ordinary numbers as bf16 and f16, and two of them as f32.
    for (Buffer* b : {&x_, &dy_, &residual_}) {
      uint16_t* words = (uint16_t*)b->address;
      for (int64_t i = 0; i < 2 * count_; i++)
        words[i] = (uint16_t)(0x3800 | (i * 40503 >> 3 & 0x3ff));
    }
    const Variant variants[] = {{"relu", bn_f32, bn_relu},
                                {"add", bn_f32, bn_identity, true},
                                {"add_relu", bn_f32, bn_relu, true},
                                {"bf16", bn_bf16},
                                {"f16", bn_f16},
                                {"avx2", bn_f32, bn_identity, false, bn_avx2}};
    for (int layout : {bn_ncs, bn_nsc}) {
      for (const char* op : kOps) {
        std::vector<Runner> runners = {ours(op, layout, {""})};
        bn::Yardstick yardstick(o_.threads, count_);
        runners.push_back({"triad", [&] { yardstick.triad(dx_.f(), x_.f(), dy_.f(), false); }});
        runners.push_back({"triad_nt", [&] { yardstick.triad(dx_.f(), x_.f(), dy_.f(), true); }});
        for (const Variant& v : variants) runners.push_back(ours(op, layout, v));
        auto m = measure(runners, o_.threads, o_.quick ? 0.5 : 4.0);
        double plain = m[runners[0].name], triad = std::min(m["triad"], m["triad_nt"]);
        for (const Variant& v : variants) {
          std::string name = ours(op, layout, v).name;
          bool half = v.dtype != bn_f32, relu = v.activation == bn_relu && !v.residual;
          double goal = half ? 0.55 : relu ? 1.05 : 1.15;
          bool adds = v.residual && op[0] == 'i';
          std::printf("%-16s %-20s %.2f x plain %s", shape_.name, name.c_str(), m[name] / plain,
                      v.residual                ? ""
                      : m[name] <= goal * plain ? "pass"
                                                : "miss");
          if (adds) {
            std::printf(" %.2f of triad %s", triad / m[name],
                        triad / m[name] >= 0.9 ? "pass" : "miss");
          }
          std::printf("\n");
        }
      }
    }
  }

 private:
  static constexpr const char* kOps[] = {"infer", "train", "backward"};

  int64_t c() const { return shape_.c; }

  Runner ours(const std::string& op, int layout, Variant v) {
    int64_t n = shape_.n, s = shape_.s, pitch = layout == bn_ncs ? c() * s : c();
    int isa = v.isa < 0 ? o_.isa : v.isa, t = o_.threads;
    const void* r = v.residual ? residual_.f() : nullptr;
    // Without a residual the mask is computed from x.
    const void* mask = v.residual && v.activation ? y_.f() : nullptr;
    float* dr = v.residual ? residual_.f() : nullptr;
    std::string name = op + (layout == bn_ncs ? "_ncs" : "_nsc");
    if (v.name[0]) name += std::string("_") + v.name;
    if (op == "infer") {
      return {name, [=] {
                bn_inference(isa, t, v.dtype, layout, n, c(), s, v.activation, 0, x_.f(), pitch, r,
                             pitch, y_.f(), pitch, running_mean_.f(), running_var_.f(), weight_.f(),
                             bias_.f(), 1e-5);
              }};
    }
    if (op == "train") {
      return {name, [=] {
                bn_training(isa, t, v.dtype, layout, n, c(), s, v.activation, 0, x_.f(), pitch, r,
                            pitch, y_.f(), pitch, weight_.f(), bias_.f(), 1e-5, mean_.f(), low_.f(),
                            inv_std_.f(), nullptr, nullptr, 0.1);
              }};
    }
    return {name, [=] {
              bn_backward_training(isa, t, v.dtype, layout, n, c(), s, v.activation, 0, dy_.f(),
                                   pitch, x_.f(), pitch, mask, pitch, weight_.f(), bias_.f(),
                                   mean_.f(), low_.f(), inv_std_.f(), dx_.f(), pitch, dr, pitch,
                                   dw_.f(), db_.f());
            }};
  }

  const Options& o_;
  const Shape& shape_;
  int64_t count_;
  Buffer x_, y_, dy_, dx_, residual_;
  Buffer weight_{c() * 4}, bias_{c() * 4}, mean_{c() * 4}, low_{c() * 4}, inv_std_{c() * 4};
  Buffer running_mean_{c() * 4}, running_var_{c() * 4}, dw_{c() * 4}, db_{c() * 4};
};

}  // namespace

// What the figures are worth knowing with.
static void print_machine(const Options& o) {
  char line[256], cpu[256] = "unknown CPU";
  if (FILE* f = std::fopen("/proc/cpuinfo", "r")) {
    while (std::fgets(line, sizeof line, f)) {
      if (std::sscanf(line, "model name : %255[^\n]", cpu) == 1) break;
    }
    std::fclose(f);
  }
  std::printf("%s, L2 %lld KiB, instruction set %d, %d threads; compiler %s; commit %s%s\n", cpu,
              (long long)(bn::l2_bytes() >> 10), o.isa, o.threads, __VERSION__, BN_COMMIT,
              o.quick ? "; quick" : "");
}

int main(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; i++) {
    std::string a = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (a == "--quick")
      o.quick = true;
    else if (a == "--threads")
      o.threads = std::atoi(value), i++;
    else if (a == "--isa")
      o.isa = std::atoi(value), i++;
    else if (a == "--only")
      o.only = value, i++;
    else if (a == "--csv")
      o.csv = value, i++;
    else {
      std::fprintf(stderr, "unknown option %s; see the head of bench.cpp\n", argv[i]);
      return 2;
    }
  }
  const Shape shapes[] = {
      {"1x64x112x112", 1, 64, 112 * 112},
      {"1x64x56x56", 1, 64, 56 * 56},
      {"1x256x56x56", 1, 256, 56 * 56},
      {"1x128x28x28", 1, 128, 28 * 28},
      {"1x512x28x28", 1, 512, 28 * 28},
      {"1x256x14x14", 1, 256, 14 * 14},
      {"1x1024x14x14", 1, 1024, 14 * 14},
      {"1x512x7x7", 1, 512, 49},
      {"1x2048x7x7", 1, 2048, 49},
      {"32x64x112x112", 32, 64, 112 * 112},
      {"32x64x56x56", 32, 64, 56 * 56},
      {"32x256x56x56", 32, 256, 56 * 56, true},
      {"32x128x28x28", 32, 128, 28 * 28},
      {"32x512x28x28", 32, 512, 28 * 28},
      {"32x256x14x14", 32, 256, 14 * 14},
      {"32x1024x14x14", 32, 1024, 14 * 14},
      {"32x512x7x7", 32, 512, 49},
      {"32x2048x7x7", 32, 2048, 49},
      {"64x50", 64, 50, 1},
      {"256x1024", 256, 1024, 1},
      {"4096x512", 4096, 512, 1},
      {"65536x256", 65536, 256, 1},
      {"4x64x16x56x56", 4, 64, 16 * 56 * 56},
  };
  print_machine(o);
  FILE* csv = o.csv ? std::fopen(o.csv, "w") : nullptr;
  if (o.csv && !csv) {
    std::fprintf(stderr, "cannot write %s\n", o.csv);
    return 1;
  }
  if (csv) std::fprintf(csv, "shape,op,threads,us,copy_us,triad_us,read_us,onednn_us\n");
  for (const Shape& shape : shapes) {
    if (std::string(shape.name).find(o.only) == std::string::npos) continue;
    Bench bench(o, shape);
    bench.run(csv);
    if (shape.variants) bench.run_variants();
  }
  for (auto& [name, v] : ratios) {
    double logs = 0;
    for (double ratio : v) logs += std::log(ratio);
    std::printf("%-14s geometric mean of %zu cells: %.2f x oneDNN\n", name.c_str(), v.size(),
                std::exp(logs / (double)v.size()));
  }
  if (csv) std::fclose(csv);
}
