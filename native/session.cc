#include "session.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <new>

namespace heddle {

Session::Session(Open open, Finish finish) : open_(std::move(open)), finish_(std::move(finish)) {
  thread_ = std::thread([this] { loop(); });
}

Session::~Session() { stop(); }

void Session::post(std::unique_ptr<Job> job) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    queue_.push_back(std::move(job));
    waiting_.store(static_cast<int32_t>(queue_.size()));
  }
  posted_.notify_one();
}

void Session::stop() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    queue_.clear();
    if (backend_) backend_->stop = true;
  }
  posted_.notify_one();
  if (thread_.joinable()) thread_.join();
}

// The next job, or null when the thread is to end.
std::unique_ptr<Job> Session::take() {
  const auto called = [&] { return waiting_.load() > 0 || stopping_.load(); };
  {
    cpu::Busy busy;
    cpu::spin_until(called);
  }
  std::unique_lock<std::mutex> lock(mutex_);
  posted_.wait(lock, [&] { return !queue_.empty() || stopping_; });
  if (stopping_) return nullptr;
  std::unique_ptr<Job> job = std::move(queue_.front());
  queue_.pop_front();
  waiting_.store(static_cast<int32_t>(queue_.size()));
  return job;
}

// Runs `body`; what goes wrong becomes the job's error, and a device that failed stays so.
void Session::attempt(Job& job, const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    job.error = error;
    if (strcmp(error.code, "DEVICE") == 0) broken_ = error;
  } catch (const std::bad_alloc&) {
    job.error = Error("OUT_OF_MEMORY", "the host has no memory left for the session's own buffers");
  } catch (const std::exception& error) {
    job.error = broken_ = Error("DEVICE", std::string("session: ") + error.what());
  }
}

// Whether another job arrives before the oldest run under way has ended. A long wait sleeps between two looks: a device that
// takes its time needs no busy thread beside it.
bool Session::next_comes_first() {
  bool has_ended = false;
  const auto either = [&] { return (has_ended = backend_->has_ended()) || waiting_.load() > 0 || stopping_.load(); };
  if (!cpu::spin_until(either)) {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!either()) posted_.wait_for(lock, std::chrono::microseconds(20));
  }
  return !has_ended;
}

// Takes the results of the oldest run under way, waiting for them, and gives it back.
void Session::collect() {
  std::unique_ptr<Job> job = std::move(under_way_.front());
  under_way_.pop_front();
  attempt(*job, [&] { backend_->collect(job->result.data()); });
  const int64_t now = cpu::monotonic_nanoseconds();
  kernel_nanoseconds_ += static_cast<uint64_t>(now - std::max(job->started, last_collected_));
  last_collected_ = now;
  runs_++;
  if (!stopping_) finish_(std::move(job));
}

// A device works through its runs without waiting for this thread: the next run is started, if there is one, before the
// results of the one before are taken. Whatever else comes waits until all runs are back.
void Session::loop() {
  for (bool is_last = false; !is_last && !stopping_;) {
    if (!under_way_.empty() && !next_comes_first()) {
      cpu::Busy busy;
      collect();
      continue;
    }
    std::unique_ptr<Job> job = take();
    if (!job) break;
    cpu::Busy busy;
    is_last = job->kind == Job::CLOSE;
    const bool is_run = job->kind == Job::RUN;
    const size_t most = is_run && backend_ ? static_cast<size_t>(backend_->most_runs()) : 1;
    while (under_way_.size() >= most) collect();
    attempt(*job, [&] { execute(*job); });
    if (is_run && !job->error) {
      under_way_.push_back(std::move(job));
    } else {
      while (!under_way_.empty()) collect();
      if (!stopping_) finish_(std::move(job));
    }
  }
  std::unique_ptr<Backend> backend;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    backend = std::move(backend_);
  }
}

void Session::execute(Job& job) {
  if (job.kind == Job::CLOSE) {
    if (backend_) backend_->release();
    for (auto& bytes : arena_bytes_) bytes = 0;
    return;
  }
  if (broken_) throw *broken_;
  if (!backend_) {
    std::unique_ptr<Backend> opened = open_();
    std::lock_guard<std::mutex> lock(mutex_);
    backend_ = std::move(opened);
    backend_->stop = stopping_.load();
  }
  switch (job.kind) {
    case Job::LOAD: return load(job);
    case Job::RUN: return start(job);
    case Job::READ:
      check_range(job, job.length);
      job.result.resize(job.length);
      backend_->download(job.arena, job.offset, job.result.data(), job.result.size());
      return backend_->wait();
    case Job::WRITE:
      check_range(job, job.bytes.size());
      backend_->upload(job.arena, job.offset, job.bytes.data(), job.bytes.size());
      return backend_->wait();
    case Job::CLOSE: return;
  }
}

void Session::load(const Job& job) {
  ArenaBytes bytes, layout = layout_;
  for (int arena = 0; arena < ARENA_COUNT; arena++) bytes[arena] = arena_bytes_[arena];
  std::vector<const Program*> programs;
  for (const auto& program : job.programs) {
    for (int arena = 0; arena < ARENA_COUNT; arena++) {
      bytes[arena] = std::max(bytes[arena], program->bytes[arena]);
      const uint64_t hash = program->layout[arena];
      if (!is_persistent(arena) || hash == 0) continue;
      if (layout[arena] != 0 && layout[arena] != hash)
        throw Error("CONFIG", std::string("load: programs of one session disagree on what lies where in ") +
                                  ARENA_NAMES[arena] + "; encode them from one model");
      layout[arena] = hash;
    }
    programs.push_back(program.get());
  }
  backend_->use_matmul_choices(job.matmul_choices);
  loaded_.insert(loaded_.end(), job.programs.begin(), job.programs.end());
  try {
    backend_->allocate(bytes, programs);
  } catch (...) {
    loaded_.resize(loaded_.size() - programs.size());
    throw;
  }
  backend_->wait();
  layout_ = layout;
  for (int arena = 0; arena < ARENA_COUNT; arena++) arena_bytes_[arena] = bytes[arena];
  std::string choices = backend_->matmul_choices();
  std::lock_guard<std::mutex> lock(mutex_);
  matmul_choices_ = std::move(choices);
}

std::string Session::matmul_choices() {
  std::lock_guard<std::mutex> lock(mutex_);
  return matmul_choices_;
}

void Session::start(Job& job) {
  const Program& program = *job.programs.front();
  if (job.is_profiled) job.seconds.resize(program.instructions.size());
  job.result.resize(program.output_bytes);
  job.started = cpu::monotonic_nanoseconds();
  backend_->run(program, job.bytes.data(), job.scalars, job.is_profiled ? job.seconds.data() : nullptr);
}

void Session::check_range(const Job& job, uint64_t bytes) const {
  const uint64_t size = arena_bytes_[job.arena];
  if (job.offset > size || bytes > size - job.offset)
    throw Error("DATA", std::string(job.kind == Job::READ ? "read" : "write") + ": bytes " + std::to_string(job.offset) +
                            " to " + std::to_string(job.offset + bytes) + " lie beyond the " + std::to_string(size) +
                            " bytes of " + ARENA_NAMES[job.arena]);
}

}  // namespace heddle
