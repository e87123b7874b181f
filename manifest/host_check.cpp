#include "manifest/host_check.h"

#include <algorithm>
#include <set>

#include "manifest/error.h"
#include "manifest/host_source.h"

namespace lamina::manifest {

namespace {

class Check {
 public:
  Check(const HostBinding &binding, const Contract &contract) : binding_(binding), contract_(contract) {}

  void run() {
    if (binding_.layer != contract_.layer) refuse("layer is " + binding_.layer + ", the contract's is " + contract_.layer);
    classes();
    forward();
    arguments();
    dims();
    shapes();
  }

 private:
  [[noreturn]] static void refuse(const std::string &why) { throw Error(ErrorKind::malformed, why); }

  void classes() {
    std::set<std::string> names;
    for (const HostClass &one : binding_.classes)
      if (!names.insert(one.name).second) refuse("two classes are called " + one.name);
    for (const HostClass &one : binding_.classes) {
      const bool shared = std::count_if(binding_.classes.begin(), binding_.classes.end(),
                                        [&](const HostClass &other) { return other.python_class == one.python_class; }) > 1;
      const bool told_at_call = std::any_of(one.attributes.begin(), one.attributes.end(),
                                            [](const HostAttribute &attribute) { return !attribute.forward_name.empty(); });
      if (shared && one.when_attribute.empty() && !told_at_call)
        refuse("class " + one.name + " shares " + one.python_class +
               " with another; `when`, or an attribute given at the call, must tell them apart");
      for (const HostAttribute &attribute : binding_.attributes_of(one))
        if (!attribute.forward_name.empty()) carries(attribute);
    }
  }

  void carries(const HostAttribute &attribute) {
    for (const ForwardParameter &parameter : binding_.forward)
      if (parameter.name == attribute.forward_name && parameter.use == ForwardUse::attribute && parameter.argument == attribute.name)
        return;
    refuse("attribute " + attribute.name + ": no forward parameter " + attribute.forward_name + " has \"attribute\": \"" + attribute.name +
           "\"");
  }

  // A host's forward feeds what ops of kind forward read; a gradient that comes in is no part of it.
  bool forward_takes(const std::string &argument) const {
    return std::any_of(contract_.ops.begin(), contract_.ops.end(), [&](const ContractOp &op) {
      return op.kind == "forward" && std::find(op.arguments.begin(), op.arguments.end(), argument) != op.arguments.end();
    });
  }

  // "* N N C", "B N N C" and "N N C" all fit a contract's "B N N C".
  static bool layout_fits(const std::string &layout, const ContractArgument &argument) {
    const size_t rest = argument.shape.find(' ');
    const std::string inner = rest == argument.shape.npos ? "" : argument.shape.substr(rest + 1);
    return layout == argument.shape || layout == inner || layout == (inner.empty() ? "*" : "* " + inner);
  }

  void forward() {
    std::set<std::string> names, fed;
    bool defaults = false;
    for (const ForwardParameter &parameter : binding_.forward) {
      const std::string where = "forward parameter " + parameter.name + ": ";
      if (!names.insert(parameter.name).second) refuse(where + "the name appears twice");
      if (parameter.kind != "keyword_only" && defaults && !parameter.default_text)
        refuse(where + "has no default but follows one that has");
      defaults = defaults || parameter.default_text.has_value();
      if (parameter.use == ForwardUse::attribute && !contract_.attribute(parameter.argument))
        refuse(where + "the layer has no attribute " + parameter.argument);
      if (parameter.use == ForwardUse::parameter && !binding_.parameter(parameter.argument))
        refuse(where + "parameters has no " + parameter.argument);
      if (parameter.use != ForwardUse::feeds) continue;
      const ContractArgument *argument = contract_.argument(parameter.argument);
      if (!argument || argument->role != Role::input) refuse(where + "the layer has no input " + parameter.argument);
      if (!layout_fits(parameter.layout, *argument))
        refuse(where + "layout '" + parameter.layout + "' does not fit '" + argument->shape + "' of " + argument->name);
      if (!fed.insert(argument->name).second) refuse(where + "feeds " + argument->name + ", which another feeds already");
    }
    for (const ContractArgument &argument : contract_.arguments)
      if (argument.role == Role::input && !argument.optional && !fed.contains(argument.name) && forward_takes(argument.name))
        refuse("no forward parameter feeds " + argument.name);
  }

  void arguments() {
    std::set<std::string> used;
    for (const auto &[name, source] : binding_.arguments) {
      const ContractArgument *argument = contract_.argument(name);
      if (!argument || argument->role != Role::param) refuse("arguments names " + name + ", which is no parameter of the layer");
      for_each_parameter(source, [&, &name = name](const std::string &parameter) {
        const HostParameter *declared = binding_.parameter(parameter);
        if (!declared) refuse("argument " + name + " reads " + parameter + ", which parameters does not declare");
        if (declared->optional && !argument->optional)
          refuse("argument " + name + " is required by the layer but " + parameter + " is optional");
        used.insert(parameter);
      });
    }
    for (const ContractArgument *param : contract_.params())
      if (!param->optional && !binding_.arguments.contains(param->name))
        refuse("nothing feeds " + param->name + ", which the layer requires");
    for (const HostParameter &parameter : binding_.parameters)
      if (!used.contains(parameter.name)) refuse("parameter " + parameter.name + " feeds no argument");
  }

  void dims() {
    for (const auto &[letter, rule] : binding_.dims) {
      if (rule.parameter.empty()) continue;
      const HostParameter *parameter = binding_.parameter(rule.parameter);
      if (!parameter) refuse("dim " + letter + " is read from " + rule.parameter + ", which parameters does not declare");
      if (parameter->optional) refuse("dim " + letter + " is read from " + rule.parameter + ", which is optional");
      if (static_cast<size_t>(rule.axis) >= parameter->shape.size())
        refuse("dim " + letter + " names axis " + std::to_string(rule.axis) + " of " + rule.parameter);
    }
  }

  std::map<std::string, int64_t> made_up_dims() const {
    std::map<std::string, int64_t> dims;
    int64_t next = 7;  // primes times 16: no sum or product of one is taken for another, and halves come out even
    for (const auto &[letter, rule] : binding_.dims) {
      if (rule.parameter.empty()) continue;
      dims[letter] = 16 * next;
      next = next == 7 ? 11 : next == 11 ? 13 : next + 4;
    }
    complete_dims(binding_.dims, dims);
    return dims;
  }

  void shapes() {
    const std::map<std::string, int64_t> dims = made_up_dims();
    std::map<std::string, Cut> wholes;
    for (const HostParameter &parameter : binding_.parameters) {
      const std::vector<int64_t> shape = extents(parameter.shape, dims);
      wholes[parameter.name] = {0, shape, row_major_strides(shape)};
    }
    for (const auto &[letter, rule] : binding_.dims)
      if (!rule.parameter.empty() && wholes[rule.parameter].shape[static_cast<size_t>(rule.axis)] != rule.divide * dims.at(letter))
        refuse("dim " + letter + " is read from " + rule.parameter + " in a way that contradicts that parameter's shape");
    for (const auto &[name, source] : binding_.arguments) {
      const ContractArgument &argument = *contract_.argument(name);
      const std::vector<int64_t> expected = extents(argument.dims, dims), found = shape_of(source, wholes, dims, name);
      if (found != expected)
        refuse("argument " + name + " comes out as " + shape_text(found) + " where the layer wants '" + argument.shape +
               "' = " + shape_text(expected) + " (tried with" + dims_text(dims) + ")");
    }
  }

  static std::string dims_text(const std::map<std::string, int64_t> &dims) {
    std::string text;
    for (const auto &[letter, value] : dims) text += " " + letter + "=" + std::to_string(value);
    return text;
  }

  std::vector<int64_t> shape_of(const HostSource &source, const std::map<std::string, Cut> &wholes,
                                const std::map<std::string, int64_t> &dims, const std::string &name) {
    if (source.concatenate.empty()) return cut(source, wholes.at(source.parameter), dims).shape;
    std::vector<int64_t> total;
    for (const HostSource &piece : source.concatenate) {
      std::vector<int64_t> shape = shape_of(piece, wholes, dims, name);
      const auto axis = static_cast<size_t>(source.concatenate_axis);
      if (axis >= shape.size()) refuse("argument " + name + " concatenates along an axis that its pieces lack");
      if (total.empty()) {
        total = std::move(shape);
        continue;
      }
      const int64_t extent = total[axis] + shape.at(axis);
      total[axis] = shape[axis];
      if (total != shape) refuse("argument " + name + " concatenates pieces that do not fit together");
      total[axis] = extent;
    }
    return total;
  }

  const HostBinding &binding_;
  const Contract &contract_;
};

}  // namespace

void check_host_binding(const HostBinding &binding, const Contract &contract) { Check(binding, contract).run(); }

}  // namespace lamina::manifest
