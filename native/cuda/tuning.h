// Which way each matrix product of a session is computed, found by timing where there is a library to compare with.
#pragma once
#include <map>
#include <memory>
#include <string>

#include "cublas.h"

namespace heddle { namespace cuda {

// A choice for one kind of product, with what it was made from.
struct TimedChoice {
  MatmulChoice choice;
  std::string name;     // the choice as text, which an equal library reads again
  std::string remarks;  // its time and those of others
};

class MatmulTuner {
 public:
  explicit MatmulTuner(bool tf32) : tf32_(tf32) {}

  // Takes the choices of an earlier process, as `text` gave them: they are used again where the library is the same.
  void use(const std::string& text);
  // The choice for a product, whose operands need not have memory yet. The first of its kind in the process is timed on
  // `stream`, in memory of its own, which is given back; all later ones follow it. Throws DEVICE where the device fails.
  MatmulChoice choose(const Call& call, Stream stream);
  // A line for each kind of product that was asked for: what it is, the choice and remarks, with tabs between them.
  std::string text() const;
  const Cublas* cublas() const { return cublas_.get(); }
  bool tf32() const { return tf32_; }

 private:
  TimedChoice find(const std::string& kind, const Call& call, Stream stream);
  bool restore(const std::string& name, const Call& call, MatmulChoice& choice) const;

  const bool tf32_;
  std::unique_ptr<Cublas> cublas_;  // loaded when the first product comes
  std::map<std::string, std::string> earlier_;  // names of choices by kind
  std::map<std::string, TimedChoice> chosen_;
};

}}  // namespace heddle::cuda
