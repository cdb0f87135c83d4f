#include "session.h"

#include <cstring>
#include <new>

#include "cpu/threads.h"

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

void Session::loop() {
  while (std::unique_ptr<Job> job = take()) {
    const bool is_last = job->kind == Job::CLOSE;
    {
      cpu::Busy busy;
      try {
        execute(*job);
      } catch (const Error& error) {
        job->error = error;
        if (strcmp(error.code, "DEVICE") == 0) broken_ = error;
      } catch (const std::bad_alloc&) {
        job->error = Error("OUT_OF_MEMORY", "the host has no memory left for the session's own buffers");
      } catch (const std::exception& error) {
        job->error = broken_ = Error("DEVICE", std::string("session: ") + error.what());
      }
    }
    if (stopping_) break;
    finish_(std::move(job));
    if (is_last) break;
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
    case Job::RUN: return run(job);
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
}

void Session::run(Job& job) {
  const Program& program = *job.programs.front();
  if (job.is_profiled) job.seconds.resize(program.instructions.size());
  job.result.resize(program.output_bytes);
  backend_->upload(IO, 0, job.bytes.data(), job.bytes.size());
  const int64_t start = cpu::monotonic_nanoseconds();
  backend_->run(program, job.scalars, job.is_profiled ? job.seconds.data() : nullptr);
  backend_->wait();
  kernel_nanoseconds_ += static_cast<uint64_t>(cpu::monotonic_nanoseconds() - start);
  runs_++;
  backend_->download(IO, program.output_offset, job.result.data(), job.result.size());
  backend_->wait();
}

void Session::check_range(const Job& job, uint64_t bytes) const {
  const uint64_t size = arena_bytes_[job.arena];
  if (job.offset > size || bytes > size - job.offset)
    throw Error("DATA", std::string(job.kind == Job::READ ? "read" : "write") + ": bytes " + std::to_string(job.offset) +
                            " to " + std::to_string(job.offset + bytes) + " lie beyond the " + std::to_string(size) +
                            " bytes of " + ARENA_NAMES[job.arena]);
}

}  // namespace heddle
