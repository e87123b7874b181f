// A case's arguments in a device's memory, as one lamina_call: laid out as the case says, between guards, watched for damage.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "conformance/device.h"
#include "conformance/drawing.h"

namespace lamina::conformance {

struct PlacementOptions {
  bool plain = false;        // dense and never in place, whatever the case says: for the reference
  bool all_float64 = false;  // every argument whose table takes float64 becomes float64: for the reference
  bool descriptors = false;  // PARAM arguments get no memory: they stand beside packed weights
  Edge edge = Edge::back;
};

// One argument.  `tensor` points into `shape` and `strides`, so a Placed never moves.
struct Placed {
  Placed() = default;
  Placed(const Placed &) = delete;
  int index = -1;
  std::string name;
  bool written = false;
  Element element = Element::float32;
  std::vector<int64_t> shape, strides;
  Buffer *buffer = nullptr;          // NULL for a descriptor
  std::unique_ptr<Buffer> owned;     // empty where the memory is another argument's
  std::vector<unsigned char> image;  // the bytes as they were before the run
  lamina_tensor tensor{};
};

class Placement {
 public:
  Placement(const lamina_op &op, const std::vector<Drawn> &, const Case &, Device &, const PlacementOptions &);

  // Adds the PACKED argument: bytes that this call reads, or room that it writes.
  void set_packed(Buffer *packed) { set_bytes(LAMINA_PACKED, packed); }
  void set_saved(Buffer *saved) { set_bytes(LAMINA_SAVED, saved); }

  lamina_call call();             // without workspace; valid while this lives
  lamina_call descriptor_call();  // the same shapes with every data pointer NULL
  Placed *find(const std::string &name);
  Placed *at(int index);
  std::vector<double> values(const Placed &) const;  // what the argument's memory holds now, row-major
  void reset();                                      // writes every argument's first content again
  // Draws another content for an input, for replaying a captured graph.
  void replace(Placed &, const std::vector<double> &values);
  // What a run broke, in a sentence: inputs changed, gaps of outputs written, bytes outside; empty if nothing.
  std::string damage() const;
  std::vector<unsigned char> bytes(const Placed &) const;  // the memory as it is

 private:
  void set_bytes(uint32_t role, Buffer *);
  void place(const Drawn &, const Case &, const PlacementOptions &);
  void write_values(Placed &, const std::vector<double> &values);

  const lamina_op &op_;
  Device &device_;
  std::vector<std::unique_ptr<Placed>> placed_;
  std::vector<const lamina_tensor *> tensors_;
  std::vector<lamina_tensor> bare_;
  std::vector<const lamina_tensor *> bare_tensors_;
};

}  // namespace lamina::conformance
