// A session without JavaScript: order, growth, errors, and ends at any moment.
#include "session.h"

#include <cmath>

#include "check.h"
#include "cpu/backend.h"
#include "programs.h"

using namespace heddle;
using namespace heddle::test;

namespace {

// Collects what comes back and lets the test wait for it.
class Client {
 public:
  explicit Client(int workers = 2)
      : session([workers] { return cpu::open(cpu::choose_variant(), workers); },
                [this](std::unique_ptr<Job> job) {
                  std::lock_guard<std::mutex> lock(mutex_);
                  finished_.push_back(std::move(job));
                  arrived_.notify_one();
                }) {}

  std::unique_ptr<Job> next() {
    std::unique_lock<std::mutex> lock(mutex_);
    arrived_.wait(lock, [&] { return !finished_.empty(); });
    std::unique_ptr<Job> job = std::move(finished_.front());
    finished_.pop_front();
    return job;
  }

  std::unique_ptr<Job> call(std::unique_ptr<Job> job) {
    session.post(std::move(job));
    job = next();
    if (job->error) throw *job->error;
    return job;
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<std::unique_ptr<Job>> finished_;

 public:
  Session session;  // last: its thread ends first
};

std::unique_ptr<Job> make(Job::Kind kind) {
  auto job = std::make_unique<Job>();
  job->kind = kind;
  return job;
}

std::shared_ptr<const Program> program_of(const ProgramText& text) {
  const std::vector<uint8_t> bytes = encode(text);
  return std::make_shared<const Program>(decode(bytes.data(), bytes.size()));
}

std::unique_ptr<Job> load(const ProgramText& text) {
  auto job = make(Job::LOAD);
  job->programs = {program_of(text)};
  return job;
}

std::unique_ptr<Job> run(const std::shared_ptr<const Program>& program, float x) {
  auto job = make(Job::RUN);
  job->programs = {program};
  job->bytes.resize(program->input_bytes);
  for (int i = 0; i < 64; i++) memcpy(&job->bytes[4 * i], &x, 4);
  return job;
}

std::unique_ptr<Job> read(Arena arena, uint64_t offset, uint64_t length) {
  auto job = make(Job::READ);
  job->arena = arena;
  job->offset = offset;
  job->length = length;
  return job;
}

float number(const Job& job, int index) {
  float value;
  memcpy(&value, &job.result[4 * index], 4);
  return value;
}

void test_runs_in_order() {
  Client client;
  const auto program = client.call(load(add_and_scale()))->programs[0];
  for (int i = 0; i < 50; i++) client.session.post(run(program, 1.0f));
  for (int i = 0; i < 50; i++) {
    const auto job = client.next();
    CHECK(!job->error && number(*job, 63) == 2.0f * (1.0f + i));
  }
  CHECK(number(*client.call(read(PARAMETERS, 0, 256)), 5) == 50.0f);
  CHECK(client.session.runs() == 50 && client.session.kernel_seconds() > 0);
  CHECK_ERROR(client.call(read(PARAMETERS, 4, 256)), "DATA", "lie beyond the 256 bytes of parameters");
  CHECK_ERROR(client.call(read(PARAMETERS, ~uint64_t{0}, 256)), "DATA", "read");
}

void test_growth_keeps_parameters() {
  Client client;
  const auto program = client.call(load(add_and_scale()))->programs[0];
  client.call(run(program, 3.0f));
  ProgramText larger = add_and_scale();
  larger.bytes[PARAMETERS] = 4 << 20;
  larger.bytes[IO] = 1 << 16;
  client.call(load(larger));
  CHECK(client.session.arena_bytes(PARAMETERS) == 4 << 20);
  const auto parameters = client.call(read(PARAMETERS, 0, 4 << 20));
  CHECK(number(*parameters, 0) == 3.0f && number(*parameters, 63) == 3.0f && number(*parameters, 64) == 0.0f);
  CHECK(number(*client.call(run(program, 1.0f)), 0) == 8.0f);  // the old program sees the new place
}

void test_layouts_must_agree() {
  Client client;
  client.call(load(add_and_scale()));
  ProgramText other = add_and_scale();
  other.layout[PARAMETERS] = 8;
  CHECK_ERROR(client.call(load(other)), "CONFIG", "disagree on what lies where in parameters");
  other.layout[PARAMETERS] = 0;
  client.call(load(other));
}

void test_memory_that_is_not_there() {
  Client client;
  const auto program = client.call(load(add_and_scale()))->programs[0];
  ProgramText huge = add_and_scale();
  huge.bytes[ACTIVATIONS] = 1ull << 49;
  try {
    client.call(load(huge));
    CHECK(!"half a petabyte was found");
  } catch (const Error& error) {
    CHECK(strcmp(error.code, "OUT_OF_MEMORY") == 0 && error.needed == 1ull << 49 && error.free > 0);
  }
  CHECK(number(*client.call(run(program, 1.0f)), 0) == 2.0f);
}

void test_profile() {
  Client client;
  const auto program = client.call(load(add_and_scale()))->programs[0];
  auto job = run(program, 1.0f);
  job->is_profiled = true;
  job = client.call(std::move(job));
  CHECK(job->seconds.size() == 3 && job->seconds[0] >= 0 && job->seconds[2] < 1);
}

// A device that cannot be opened fails every job with the same error.
void test_sticky_errors() {
  std::atomic<int> opened{0}, failed{0};
  {
    Session session(
        [&]() -> std::unique_ptr<Backend> {
          opened++;
          throw Error("DEVICE", "out of order");
        },
        [&](std::unique_ptr<Job> job) { failed += job->error && strcmp(job->error->code, "DEVICE") == 0; });
    for (int i = 0; i < 3; i++) session.post(load(add_and_scale()));
    while (failed < 3) std::this_thread::yield();
  }
  CHECK(opened == 1 && failed == 3);
}

// A program that takes seconds; stopping does not wait for its end.
void test_ends_at_any_moment() {
  ProgramText slow = add_and_scale();
  for (int i = 0; i < 100000; i++) slow.instructions.push_back(slow.instructions[1]);
  const auto program = program_of(slow);
  for (int round = 0; round < 40; round++) {
    Client client(1 + round % 3);
    if (round % 8 == 0) continue;
    auto job = make(Job::LOAD);
    job->programs = {program};
    if (round % 3 == 0) client.session.post(std::move(job));
    else client.call(std::move(job));
    if (round % 3 != 0)
      for (int i = 0; i < 3; i++) client.session.post(run(program, 1.0f));
    std::this_thread::sleep_for(std::chrono::microseconds(round * 50));
    if (round % 2) client.session.stop();
  }
  Client client;
  client.call(load(add_and_scale()));
  client.call(make(Job::CLOSE));
  CHECK(client.session.arena_bytes(PARAMETERS) == 0);
}

}  // namespace

int main() {
  test_runs_in_order();
  test_growth_keeps_parameters();
  test_layouts_must_agree();
  test_memory_that_is_not_there();
  test_profile();
  test_sticky_errors();
  test_ends_at_any_moment();
  return report("session");
}
