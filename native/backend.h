// What a device does for a Session. Both backends implement these virtuals; the interface does not grow with ops. All of
// them are called on the session's thread; they throw Error, and a DEVICE error ends the session.
#pragma once
#include <atomic>

#include "program.h"

namespace heddle {

class Backend {
 public:
  virtual ~Backend() = default;

  // Grows arenas to at least `bytes` (new bytes are 0, persistent ones keep their content) and makes ready to run
  // `programs`; checks that each of their ops has a kernel. On an error nothing has changed.
  virtual void allocate(const ArenaBytes& bytes, const std::vector<const Program*>& programs) = 0;
  // Gives all arenas back.
  virtual void release() = 0;
  // Copies into and out of an arena; the caller has checked the range.
  virtual void upload(Arena arena, uint64_t offset, const uint8_t* from, uint64_t bytes) = 0;
  virtual void download(Arena arena, uint64_t offset, uint8_t* to, uint64_t bytes) = 0;
  // Starts a program that `allocate` made ready: with inputs of `input_bytes`, whose memory may change when this returns,
  // and SCALAR_COUNT scalars. Where `seconds` is given it has ended on return, and they are the time of each instruction.
  virtual void run(const Program& program, const uint8_t* inputs, const double* scalars, double* seconds) = 0;
  // Runs that may be under way at a time: the next is started before the first is collected.
  virtual int most_runs() const = 0;
  // Whether the first run that has not been collected has ended.
  virtual bool has_ended() = 0;
  // Waits for that run and copies its outputs, of `output_bytes`.
  virtual void collect(uint8_t* outputs) = 0;
  // Returns when everything above has taken effect.
  virtual void wait() = 0;

  // How a device computes each kind of matrix product, where it has a choice: lines of text that another process may give
  // back before its first `allocate`, to compute the same way.
  virtual std::string matmul_choices() const { return ""; }
  virtual void use_matmul_choices(const std::string&) {}

  // Set from another thread when the environment goes away: `run` may return early, with the arenas in any state.
  std::atomic<bool> stop{false};
};

}  // namespace heddle
