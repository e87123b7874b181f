// One host module's own words (layers/<layer>/hosts/<host>.json) and how a checkpoint in those words feeds a layer's arguments.
// The format is explained in docs/host-bindings.md; its schema is manifest/schemas/host.schema.json.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "manifest/contract.h"
#include "manifest/formula.h"
#include "manifest/json_forward.h"
#include "manifest/safetensors.h"
#include "manifest/tensor.h"

namespace lamina::manifest {

// Where an attribute of the layer comes from.
struct HostAttribute {
  std::string name;                             // the contract's
  AttributeValue value;                         // what a checkpoint alone means: the released models' value
  std::string module_path;                      // "norm_in.eps": read from the live module; empty if fixed
  std::string forward_name;                     // a forward parameter that carries it; empty if none
  std::map<std::string, AttributeValue> words;  // the host's value (as Python's str()) -> the contract's; empty: unchanged
};

struct HostClass {
  std::string name;                         // unique in the file; what --class takes
  std::string python_class;                 // may be shared by several entries that `when` tells apart
  std::vector<std::string> hub_layers;      // names in the kernel hub's mappings
  std::vector<std::string> members;         // what the host's own blocks call it: "tri_mul_out"
  std::string when_attribute, when_equals;  // module attribute and its value as str(); empty: always
  std::vector<HostAttribute> attributes;    // fixed by this class, over the file's
};

enum class ForwardUse {
  feeds,         // an argument of the layer
  attribute,     // carries an attribute (see HostAttribute::forward_name)
  parameter,     // is a weight (functional hosts); see HostParameter
  parameters,    // is a dictionary of weights
  in_place,      // true: the host wants its input overwritten and returned
  add_in_place,  // true (with in_place): the input is added to what is written
  ignored,       // does not change the result
  must_equal,    // any other value is not served: call the host's own forward
};
struct ForwardParameter {
  std::string name;
  std::string kind = "positional_or_keyword";  // or "positional_only", "keyword_only"
  std::optional<std::string> default_text;     // Python source: "None", "256"
  std::string annotation;                      // Python source, may be empty
  ForwardUse use = ForwardUse::ignored;
  std::string argument;    // with feeds: the layer's argument
  std::string layout;      // with feeds: "* N N C"; '*' is any number of leading axes, folded into the first dim
  std::string must_equal;  // with must_equal: Python source
  std::string why;         // with ignored, must_equal
};

struct HostParameter {
  std::string name;                // below the prefix
  std::vector<std::string> shape;  // formulas of the dims, before any layer axis
  std::string dtype;               // "activation", "float32", "any": what the host keeps it in
  bool optional = false;
};

struct HostDim {
  std::string formula;    // of earlier dims, or empty
  std::string parameter;  // else: an extent of this parameter
  int axis = 0;
  int64_t divide = 1;
};

// How one argument is cut out of one parameter; the steps apply in this order, each if present, to the axes left by those before.
struct HostSource {
  std::string parameter;
  struct Select {
    int axis;
    std::string at;
  };
  struct Interleave {
    int axis;
    std::string offset, step;
  };
  struct Slice {
    int axis;
    std::string start, stop;
  };
  std::optional<Select> select;          // one index of an axis, which goes away
  std::optional<Interleave> interleave;  // every step-th index from offset on
  std::optional<Slice> slice;            // [start, stop)
  bool transpose = false;                // axes in reverse order
  std::vector<HostSource> concatenate;   // instead of a parameter: these along `concatenate_axis`; the one form that copies
  int concatenate_axis = 0;
};

struct HostBinding {
  std::string host, layer, title;
  std::string package, version;    // of a registry, and/or
  std::string repository, commit;  // of a git repository
  std::string module;              // "boltz.model.layers.triangular_mult"
  std::string kind;                // "torch_module", "jax_module", "function"
  std::string separator = ".";     // between prefix and parameter name
  bool stacked_layers = false;     // checkpoints may carry a leading [layers] axis on every parameter
  std::vector<HostClass> classes;
  std::vector<HostAttribute> attributes;
  std::map<std::string, HostDim> dims;
  std::vector<HostParameter> parameters;
  std::map<std::string, HostSource> arguments;  // contract PARAM argument -> source
  std::vector<ForwardParameter> forward;
  std::string returns;
  std::string residual;  // "outside", "inside"
  std::string dropout;   // "outside", "inside", "none"
  std::vector<std::string> notes;

  std::string full_name(std::string_view prefix, std::string_view parameter) const;  // joined by the separator
  const HostParameter *parameter(std::string_view name) const;
  // Errors: not_found, listing the names there are.  With one class, "" means it.
  const HostClass &find_class(std::string_view name) const;
  // The class one of whose `members` ends the prefix ("blocks.0.tri_mul_out": tri_mul_out); NULL if none or several do.
  const HostClass *class_of_prefix(std::string_view prefix) const;
  // The file's attributes, those of the class in their place or behind them.
  std::vector<HostAttribute> attributes_of(const HostClass &host_class) const;
};

// Validates against the schema, then against the contract: every argument, attribute and value exists there, required parameters all
// have a source, every name used is declared, every formula parses.  Errors: malformed.  [thread-safe]
HostBinding parse_host_binding(std::string_view text, const Contract &contract, const std::string &what);
HostBinding host_binding_of(const Json &json, const Contract &contract, const std::string &what);

struct BoundArgument {
  std::string name;                                         // of a contract PARAM argument
  bool present = false;                                     // false: an optional argument this host or checkpoint lacks; pass NULL
  TensorView view;                                          // into the checkpoint's mapping, or into the owned buffer of a concatenation
  std::shared_ptr<const std::vector<unsigned char>> owned;  // NULL for views
};
struct BoundAttribute {
  std::string name;
  AttributeValue value;
};

struct BoundCheckpoint {
  std::vector<BoundArgument> arguments;         // every PARAM argument, in the contract's order
  std::vector<BoundAttribute> attributes;       // those that the host fixes
  std::map<std::string, int64_t> dims;          // those that the parameters tell
  std::shared_ptr<const SafetensorsFile> file;  // keeps the views valid
  const BoundArgument *argument(std::string_view name) const;
};

struct BindOptions {
  std::string class_name = {};              // "" with one class, or when the prefix tells
  std::string prefix = {};                  // "trunk.blocks.0.tri_mul_out"; "" is the file's root
  std::optional<int64_t> layer_index = {};  // which layer of a stacked checkpoint
};

// Feeds the layer's PARAM arguments from the tensors below a prefix.  All but concatenations are strided views: nothing is copied.
// Errors: not_found for missing parameters (says which, what was found there, and near prefixes that would do), or an unknown class;
// malformed for a wrong shape (names tensor, found, expected formula and value); invalid_argument for a layer index out of range,
// missing or not understood by this host.  [thread-safe]
BoundCheckpoint bind_checkpoint(const HostBinding &binding, const Contract &contract, std::shared_ptr<const SafetensorsFile> file,
                                const BindOptions &options);

}  // namespace lamina::manifest
