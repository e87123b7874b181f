// The plug-in's side of layers that are one linear map over rows (kernels/common/row_linear.h): turns a checked call into a RowLinear,
// refuses what no argument table can say, and hands it to the build.  Knows no layer: arguments and attributes are found by name in the
// generated tables, at compile time.
#pragma once
#include <string_view>

#include "kernels/common/row_linear.h"
#include "library.h"

namespace lamina::plugin {

// Where an op has what; -1 where it has none.
struct RowLinearIndex {
  int x, residual, weight, bias, norm_weight, norm_bias, packed, out;
  int saved, out_gradient, x_gradient, residual_gradient, weight_gradient, bias_gradient, norm_weight_gradient, norm_bias_gradient;
  int eps, scale, activation, compute, dtype, save;
};

template <int arguments>
consteval RowLinearIndex row_linear_index(const lamina_arg (&table)[arguments], const lamina_attr *attributes, int attribute_count) {
  const auto argument = [&](std::string_view name) {
    for (int i = 0; i < arguments; ++i)
      if (table[i].name == name) return i;
    return -1;
  };
  const auto attribute = [&](std::string_view name) {
    for (int i = 0; i < attribute_count; ++i)
      if (attributes[i].name == name) return i;
    return -1;
  };
  return {argument("x"),
          argument("residual"),
          argument("weight"),
          argument("bias"),
          argument("norm_weight"),
          argument("norm_bias"),
          argument("packed"),
          argument("out"),
          argument("saved"),
          argument("out_gradient"),
          argument("x_gradient"),
          argument("residual_gradient"),
          argument("weight_gradient"),
          argument("bias_gradient"),
          argument("norm_weight_gradient"),
          argument("norm_bias_gradient"),
          attribute("eps"),
          attribute("scale"),
          attribute("activation"),
          attribute("compute"),
          attribute("dtype"),
          attribute("save")};
}

inline View view_of(const BoundCall &call, int argument) {
  View view;
  if (argument < 0 || !call.has(argument)) return view;
  view.present = true;
  view.data = call.data(argument);
  view.dtype = call.dtype(argument);
  for (int dim = 0; dim < call.tensors[argument]->ndim; ++dim) view.stride[dim] = call.stride(argument, dim);
  return view;
}

// Layer: static constexpr NormPlace norm; static constexpr bool norm_by_weight (the norm is there where norm_weight is);
// static const RowLinearBuild &build(); static constexpr uint64_t dtypes.  Activation values of the contract stand in the order of the enum.
template <class Layer, const RowLinearIndex &at>
struct RowLinearHooks {
  static Status refuse(const lamina_plan &plan, Failure &failure, Status status, int argument, int dim, const char *why) {
    failure.arg = argument, failure.dim = dim;
    return fail(failure, status, "%s.%s: argument %d '%s': %s", plan.op->layer, plan.op->name, argument, plan.op->args[argument].name, why);
  }

  static RowLinearSettings settings_of(const lamina_plan &plan) {
    RowLinearSettings settings;
    const AttributeValue *values = plan.attributes;
    settings.norm = Layer::norm;
    if (at.activation >= 0) settings.activation = static_cast<Activation>(values[at.activation].index);
    if (at.compute >= 0) settings.compute = static_cast<Compute>(values[at.compute].index);
    if (at.eps >= 0) settings.eps = values[at.eps].f;
    if (at.scale >= 0) settings.scale = values[at.scale].f;
    if (at.save >= 0) settings.save_activations = values[at.save].index == 1;
    return settings;
  }

  static Parallel threads_of(const lamina_plan &plan) {
    if (!Layer::build().own_threads) return {};
    Parallel parallel = plan.parallel();
    const Parallel own = Layer::build().own_threads();
    if (!parallel.loop) return own;
    if (!parallel.threads) parallel.threads = own.threads;
    return parallel;
  }

  static Status read(const lamina_plan &plan, const BoundCall &call, RowLinear &problem, Failure &failure) {
    problem.settings = settings_of(plan);
    problem.M = call.extent('M'), problem.K = call.extent('K'), problem.N = call.extent('N');
    problem.x = view_of(call, at.x), problem.residual = view_of(call, at.residual), problem.out = view_of(call, at.out);
    problem.weight = view_of(call, at.weight), problem.bias = view_of(call, at.bias);
    problem.norm_weight = view_of(call, at.norm_weight), problem.norm_bias = view_of(call, at.norm_bias);
    problem.packed = at.packed >= 0 ? call.data(at.packed) : nullptr;
    problem.saved = at.saved >= 0 ? call.data(at.saved) : nullptr;
    problem.dtype = problem.x.dtype;
    if constexpr (at.x < 0) {  // pack: the dtype of the rows to come is an attribute
      constexpr DType dtypes[] = {DType::float64, DType::float32, DType::float16, DType::bfloat16};
      problem.dtype = dtypes[plan.attributes[at.dtype].index];
      problem.M = 1;
      for (int i = 0; i < static_cast<int>(plan.op->arg_count); ++i)
        if (plan.op->args[i].role == LAMINA_PARAM && call.has(i) && call.dtype(i) != problem.dtype && call.dtype(i) != DType::float32)
          return refuse(plan, failure, Status::invalid_argument, i, -1, "dtype must be that of attribute 'dtype', or float32");
    }
    if (Layer::norm_by_weight && !problem.norm_weight.present) {
      if (problem.norm_bias.present)
        return refuse(plan, failure, Status::invalid_argument, at.norm_weight, -1,
                      "is missing beside norm_bias; without it there is no norm");
      problem.settings.norm = NormPlace::none;
    }
    if (problem.N < 1) return refuse(plan, failure, Status::unsupported, at.weight, 0, "the width N is 0, supported is 1 and more");
    if (problem.K < 1) return refuse(plan, failure, Status::unsupported, at.weight, 1, "the width K is 0, supported is 1 and more");
    return Layer::build().check(problem, plan.state, failure);
  }

  static Facts facts() {
    const RowLinearBuild &build = Layer::build();
    return {build.device_type, build.deterministic, build.capture_safe, build.workspace_align, build.packed_format};
  }

  static Status create(lamina_plan &plan, Failure &failure) {
    if constexpr (at.x < 0)
      if (plan.attributes[at.dtype].index == 0 && !(Layer::dtypes & bit(DType::float64)))
        return fail(failure, Status::unsupported, "%s.%s: this build does not take float64", plan.op->layer, plan.op->name);
    return Layer::build().create(settings_of(plan), plan.device.id, &plan.state, failure);
  }

  static void destroy(lamina_plan &plan) { Layer::build().destroy(plan.state); }

  static RowLinearGradients gradients_of(const BoundCall &call) {
    RowLinearGradients gradients;
    gradients.out = view_of(call, at.out_gradient), gradients.x = view_of(call, at.x_gradient);
    gradients.residual = view_of(call, at.residual_gradient);
    gradients.weight = view_of(call, at.weight_gradient), gradients.bias = view_of(call, at.bias_gradient);
    gradients.norm_weight = view_of(call, at.norm_weight_gradient), gradients.norm_bias = view_of(call, at.norm_bias_gradient);
    return gradients;
  }

  static Status need(const lamina_plan &plan, const BoundCall &call, Need &need, Failure &failure) {
    const RowLinearBuild &build = Layer::build();
    RowLinear problem;
    LAMINA_TRY(read(plan, call, problem, failure));
    if constexpr (at.packed >= 0) need.packed_size = build.packed_bytes(problem, plan.state);
    if constexpr (at.x < 0) return Status::ok;
    if (!problem.M && at.out_gradient < 0) return Status::ok;
    if constexpr (at.saved >= 0)
      if (problem.settings.save_activations && problem.M) need.saved_size = build.saved_bytes(problem, plan.state);
    const int threads = threads_of(plan).threads;
    if constexpr (at.out_gradient >= 0) {
      need.workspace_size = build.backward_workspace_bytes(problem, gradients_of(call), plan.state, threads);
      return Status::ok;
    }
    // A descriptor without data says "packed weights will come".
    if (at.packed >= 0 && call.has(at.packed) && !problem.packed) problem.packed = const_cast<char *>(lamina_contract_begin);
    need.workspace_size = build.workspace_bytes(problem, plan.state, threads);
    return Status::ok;
  }

  static Status run(const lamina_plan &plan, const BoundCall &call, Failure &failure) {
    const RowLinearBuild &build = Layer::build();
    RowLinear problem;
    LAMINA_TRY(read(plan, call, problem, failure));
    const RowLinearRun run{call.workspace, call.stream, threads_of(plan), plan.state};
    if constexpr (at.x < 0) return build.pack(problem, run, failure);
    if constexpr (at.out_gradient >= 0) return build.backward(problem, gradients_of(call), run, failure);
    if (!problem.M) return Status::ok;
    if constexpr (at.saved >= 0) return build.forward_train(problem, run, failure);
    return build.forward(problem, run, failure);
  }

  static constexpr Hooks hooks = {facts, create, destroy, need, run};
};

}  // namespace lamina::plugin
