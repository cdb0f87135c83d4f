// The choice between our kernels and a library of matrix products: how the library is found, that it computes what we mean in
// every layout and epilogue, and that whatever it does wrong leads back to our kernels. The library is fakeCublas.cc.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "../../../native/cuda/tuning.h"
#include "product.h"

namespace {

using namespace product;

void set(const char* name, const std::string& value) {
  if (value.empty()) unsetenv(name);
  else setenv(name, value.c_str(), 1);
}

struct Misbehaviour {
  explicit Misbehaviour(const char* how) { set("FAKE_CUBLAS", how); }
  ~Misbehaviour() { set("FAKE_CUBLAS", ""); }
};

Case case_of(int64_t depth, Epilogue epilogue) {
  return {1, 16, 24, depth, false, false, BF16, BF16, PLANNED_TILE, epilogue, false, false, 0, ACTIVATION_GELU_TANH};
}
// Kinds of products are chosen once in a process: another K each time is another kind.
int64_t next_depth = 8;
Case fresh_case(Epilogue epilogue = EPILOGUE_NONE) { return case_of(next_depth += 8, epilogue); }

// What a new tuner says of a product, given the choices of an earlier one; the product must come out right.
std::string text_of(const Case& c, const std::string& earlier = "") {
  MatmulTuner tuner(false);
  tuner.use(earlier);
  const std::string problem = run(c, [&](const Call& call, MatmulContext& context) {
    context.choice = tuner.choose(call, nullptr);
    context.cublas = tuner.cublas();
  });
  if (!problem.empty()) {
    failures()++;
    fprintf(stderr, "%s: %s\n", tuner.text().c_str(), problem.c_str());
  }
  return tuner.text();
}

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

// "kind\tchoice" with one of the library's two algorithms, which restores it.
std::string asking_for(const std::string& kind, const char* way, int algorithm) {
  char digits[129];
  snprintf(digits, sizeof digits, "%016x%016x%080d%016llx", algorithm, algorithm == 1 ? 0 : 2, 0, 0xFEDCBA9876543210ull);
  return kind + "\tcublasLt 13.0.2 " + way + " " + digits + "\n";
}

void find_the_library() {
  const auto found = [] { return find_cublas(); };
  set("HEDDLE_CUBLAS", "0");
  CHECK(found().file.empty() && found().reason == "HEDDLE_CUBLAS=0");
  set("HEDDLE_CUBLAS", FAKE_CUBLAS_LIBRARY);
  CHECK(found().file == FAKE_CUBLAS_LIBRARY && found().version == "13.0.2" && found().reason.empty());
  set("HEDDLE_CUBLAS", FAKE_CUBLAS_LIBRARY_WITHOUT_MATMUL);
  CHECK(found().file.empty() && found().tried.size() == 1 && contains(found().tried[0], "has no cublasLtMatmul"));
  set("HEDDLE_CUBLAS", "/nowhere/libcublasLt.so.13");
  CHECK(found().file.empty() && found().tried.size() == 1 && contains(found().reason, "names no library"));
  set("HEDDLE_CUBLAS", FAKE_CUBLAS_LIBRARY);
  {
    const Misbehaviour old("old");
    CHECK(contains(found().tried[0], "is cuBLASLt 11.1.3, but 12 or 13 is needed"));
  }
  {
    const Misbehaviour no_handle("no-handle");
    CHECK(contains(found().tried[0], "cublasLtCreate fails with status 1"));
  }
  set("HEDDLE_CUBLAS", "");
  char folder[] = "/tmp/heddle-cublas-XXXXXX";
  if (!mkdtemp(folder)) return;
  const std::string root = folder;
  std::vector<std::string> made;
  const auto link_in = [&](const std::string& path) {
    std::string at = root;
    for (size_t start = 0; start < path.size();) {
      const size_t end = std::min(path.find('/', start), path.size());
      at += "/" + path.substr(start, end - start);
      if (mkdir(at.c_str(), 0700) == 0) made.push_back(at);
      start = end + 1;
    }
    const std::string file = at + "/libcublasLt.so.13";
    CHECK(symlink(FAKE_CUBLAS_LIBRARY, file.c_str()) == 0);
    return file;
  };
  set("HEDDLE_CUBLAS", root + "/lib64");
  const std::string in_lib64 = link_in("lib64");
  CHECK(found().file == in_lib64);
  set("HEDDLE_CUBLAS", "");
  // A machine of the tests has no library of its own, or these would find it first.
  const bool has_library = !found().file.empty();
  set("CUDA_HOME", root);
  CHECK(has_library || found().file == in_lib64);
  set("CUDA_HOME", "");
  for (const char* layout : {"nvidia/cublas/lib", "nvidia/cu13/lib", "nvidia/cublas_cu12/lib"}) {
    const std::string environment = "env" + std::to_string(made.size());
    const std::string file = link_in(environment + "/lib/python3.11/site-packages/" + layout);
    set("VIRTUAL_ENV", root + "/" + environment);
    CHECK(has_library || found().file == file);
    unlink(file.c_str());
  }
  set("VIRTUAL_ENV", "");
  unlink(in_lib64.c_str());
  for (auto each = made.rbegin(); each != made.rend(); ++each) rmdir(each->c_str());
  rmdir(folder);
}

// Every layout, dtype and epilogue, with and without sums of columns, with each algorithm, fused where that is possible and
// finished by us. Some of them, of every sort, are timed too: that takes our own kernels a hundred times as long.
void compute_with_the_library() {
  int possible[4] = {}, with_sums = 0;
  for (int variant = 0; variant < 64; variant++) {
    const bool is_timed = variant % 7 == 0;
    const Epilogue epilogue = Epilogue(variant % 3);
    Case c = is_timed ? fresh_case(epilogue) : case_of(40, epilogue);
    c.a_turned = variant & 1, c.b_turned = variant & 2;
    c.real = variant % 5 == 4 ? F32 : BF16, c.result = c.real == F32 || variant % 4 == 3 ? F32 : BF16;
    c.has_bias = variant / 3 % 2, c.has_addend = variant / 6 % 2;
    if (variant % 7 == 6) c.batches = 3;
    if (variant % 11 == 10) c.kind = ACTIVATION_GELU;
    c.has_sums = variant >= 48;
    if (c.has_sums && variant % 2)  // gradients of a weight and its bias, which the library can make at once
      c.epilogue = EPILOGUE_NONE, c.has_bias = false, c.batches = 1, c.result = F32, c.a_turned = variant % 4 == 1;
    if (is_timed) {
      const std::string text = text_of(c);
      CHECK(contains(text, " ms, own ") && !contains(text, "wrong") && !contains(text, "failed"));
    }
    for (const MatmulChoice::Way way : {MatmulChoice::FUSED, MatmulChoice::FUSED_BUT_SUMS, MatmulChoice::FINISHED})
      for (int algorithm : {1, 2}) {
        // The choice of this process is made; the way an earlier choice is read shows on a call alone.
        CublasSearch search;
        const Cublas cublas(search);
        bool is_possible = true;
        const std::string problem = run(c, [&](const Call& call, MatmulContext& context) {
          CublasProduct product;
          is_possible = describe_for_cublas(call, way, nullptr, product);
          if (!is_possible) return;
          context.cublas = &cublas;
          context.choice.way = way;
          context.choice.algorithm[0] = uint64_t(algorithm), context.choice.algorithm[1] = algorithm == 1 ? 0 : 2;
          context.choice.workspace_bytes = uint64_t(1024 * (algorithm - 1));
        });
        if (is_possible) possible[way]++;
        if (is_possible && way == MatmulChoice::FUSED && c.has_sums) with_sums++;
        if (problem.empty()) continue;
        failures()++;
        fprintf(stderr, "variant %d, way %d, %d: %s\n", variant, int(way), algorithm, problem.c_str());
      }
  }
  CHECK(possible[MatmulChoice::FUSED] >= 24 && possible[MatmulChoice::FINISHED] == 128);
  CHECK(with_sums >= 16 && possible[MatmulChoice::FUSED_BUT_SUMS] > with_sums);
}

void choose_and_keep() {
  const Case c = fresh_case();
  const std::string text = text_of(c), kind = text.substr(0, text.find('\t'));
  CHECK(contains(kind, "bf16 1x16x") && contains(text, "candidates"));
  CHECK(text_of(c) == text);  // once for each kind
  CHECK(text_of(c, asking_for(kind, "fused", 2)) == text);

  // A new kind with the choices of an earlier process, whose kind is known by that of the process before it.
  const auto kind_after = [&](const Case& other) {
    std::string changed = kind;
    const std::string depth = "16x" + std::to_string(c.k) + "x24", pitch = "a " + std::to_string(c.k + 8);
    changed.replace(changed.find(depth), depth.size(), "16x" + std::to_string(other.k) + "x24");
    changed.replace(changed.find(pitch), pitch.size(), "a " + std::to_string(other.k + 8));
    return changed;
  };
  const Case again = fresh_case();
  const std::string restored = text_of(again, asking_for(kind_after(again), "fused", 2));
  CHECK(contains(restored, "cublasLt 13.0.2 fused 0000000000000002") && contains(restored, "as before"));
  const Case own = fresh_case();
  CHECK(contains(text_of(own, kind_after(own) + "\town tile 4\t0.1 ms"), "\town tile 4\tas before"));
  const Case other = fresh_case();
  CHECK(contains(text_of(other, kind_after(other) + "\tcublasLt 12.1.0 fused 00"), ", in place of cublasLt 12.1.0 fused 00"));
  const Case unknown = fresh_case();
  CHECK(contains(text_of(unknown, asking_for(kind_after(unknown), "fused", 3)), ", in place of cublasLt 13.0.2 fused"));
}

void fall_back() {
  const auto with = [&](const char* how, const char* remark) {
    const Misbehaviour misbehaviour(how);
    const std::string text = text_of(fresh_case());
    if (contains(text, "\town") && contains(text, remark)) return;
    failures()++;
    fprintf(stderr, "%s: %s\n", how, text.c_str());
  };
  with("no-algorithms", "4 candidates");
  with("refusing", ", 4 failed");
  with("wrong", ", 4 wrong");
  with("varying", " varying");
  const Misbehaviour splitting("splitting");
  CHECK(contains(text_of(fresh_case()), "6 candidates"));  // of four algorithms those two that add in a fixed order
  set("HEDDLE_CUBLAS", "0");
  CHECK(text_of(fresh_case()).empty());
}

}  // namespace

int main() {
  find_the_library();
  set("HEDDLE_CUBLAS", FAKE_CUBLAS_LIBRARY);
  compute_with_the_library();
  choose_and_keep();
  fall_back();
  return report("tuning");
}
