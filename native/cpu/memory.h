// Memory of the host: how much there is, and blocks of it that are zero, aligned and really there.
#pragma once
#include <cstdint>

namespace heddle { namespace cpu {

// Bytes this process can still take, by the machine and by its control groups.
uint64_t available_memory();

// A zero-filled block, aligned to 64 bytes, or to 2 MiB and in huge pages where it is large. Empty when default-made.
class Block {
 public:
  Block() = default;
  // Throws OUT_OF_MEMORY, naming `what`, where the memory is not there.
  Block(uint64_t bytes, const char* what);
  Block(Block&& other) noexcept;
  Block& operator=(Block&& other) noexcept;
  ~Block();

  uint8_t* data() const { return data_; }
  uint64_t bytes() const { return bytes_; }

 private:
  uint8_t* data_ = nullptr;
  uint64_t bytes_ = 0;
  void* mapping_ = nullptr;  // what was mapped, to have room for the alignment; null for a small block
  uint64_t mapped_ = 0;
};

}}  // namespace heddle::cpu
