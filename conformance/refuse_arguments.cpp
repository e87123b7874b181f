// Calls that contradict the argument table, derived from the table: for each op and argument, each way to be wrong.
#include <algorithm>

#include "conformance/draft.h"

namespace lamina::conformance {
namespace {

struct Bend {
  std::string name;
  std::function<Wanted(Stage &, Draft &)> apply;
};

struct Occurrence {
  int arg, dim;
};

// Where a letter stands among the present arguments, in table order.
std::vector<Occurrence> occurrences(const lamina_op &op, const Draft &draft, const std::string &letter) {
  std::vector<Occurrence> all;
  for (uint32_t i = 0; i < op.arg_count; ++i) {
    if (!draft.pointers[i]) continue;
    const auto words = shape_words(op.args[i]);
    for (size_t dim = 0; dim < words.size(); ++dim)
      if (words[dim] == letter) all.push_back({static_cast<int>(i), static_cast<int>(dim)});
  }
  return all;
}

bool is_empty(const lamina_tensor &tensor) {
  return std::any_of(tensor.shape, tensor.shape + tensor.ndim, [](int64_t extent) { return extent == 0; });
}

void rank_bends(size_t i, std::vector<Bend> &bends) {
  const auto with_rank = [i](int32_t (*change)(int32_t)) {
    return [i, change](Stage &, Draft &draft) {
      draft.tensors[i].ndim = change(draft.tensors[i].ndim);
      return Wanted{LAMINA_INVALID_ARGUMENT, static_cast<int>(i), -1};
    };
  };
  bends.push_back({"rank too high", with_rank([](int32_t rank) { return rank + 1; })});
  bends.push_back({"rank too low", with_rank([](int32_t rank) { return rank - 1; })});
  bends.push_back({"rank negative", with_rank([](int32_t) { return int32_t{-1}; })});
  bends.push_back({"rank beyond any", with_rank([](int32_t) { return INT32_MAX; })});
  bends.push_back({"shape NULL", [i](Stage &, Draft &draft) {
                     draft.tensors[i].shape = nullptr;
                     return Wanted{LAMINA_INVALID_ARGUMENT, static_cast<int>(i), -1};
                   }});
}

void dtype_bends(const lamina_op &op, size_t i, const Stage &stage, std::vector<Bend> &bends) {
  const lamina_arg &arg = op.args[i];
  const auto with_dtype = [i](lamina_dtype dtype, lamina_status status) {
    return [i, dtype, status](Stage &, Draft &draft) {
      draft.tensors[i].dtype = dtype;
      return Wanted{status, static_cast<int>(i), -1};
    };
  };
  bends.push_back({"dtype of an unknown code", with_dtype({17, 8, 1}, LAMINA_UNSUPPORTED)});
  bends.push_back({"dtype of two lanes", with_dtype({LAMINA_CODE_FLOAT, 32, 2}, LAMINA_UNSUPPORTED)});
  const bool bytes = arg.role == LAMINA_PACKED || arg.role == LAMINA_SAVED;
  const Placed *source = arg.dtype_of >= 0 ? stage.placement->at(arg.dtype_of) : nullptr;
  for (int code = 0; code < element_count; ++code) {
    const auto element = static_cast<Element>(code);
    const std::string name = std::string("dtype ") + name_of(element);
    if (!(arg.dtypes & bit(element)))
      bends.push_back({name, with_dtype(dtype_of(element), bytes ? LAMINA_INVALID_ARGUMENT : LAMINA_UNSUPPORTED)});
    else if (source && element != source->element &&
             !((arg.flags & LAMINA_OR_FLOAT32) && arg.role != LAMINA_OUTPUT && element == Element::float32))
      bends.push_back({name + " beside " + name_of(source->element), with_dtype(dtype_of(element), LAMINA_INVALID_ARGUMENT)});
  }
}

void extent_bends(const lamina_op &op, size_t i, std::vector<Bend> &bends) {
  const auto words = shape_words(op.args[i]);
  for (size_t dim = 0; dim < words.size(); ++dim) {
    const std::string at = " of dimension " + std::to_string(dim);
    bends.push_back({"negative extent" + at, [i, dim](Stage &, Draft &draft) {
                       draft.shapes[i][dim] = -1;
                       return Wanted{LAMINA_INVALID_ARGUMENT, static_cast<int>(i), static_cast<int>(dim)};
                     }});
    for (const int64_t change : {-1, 1})
      bends.push_back(
          {(change < 0 ? "smaller extent" : "larger extent") + at, [&op, i, dim, change, word = words[dim]](Stage &, Draft &draft) {
             const auto all = occurrences(op, draft, word);
             draft.shapes[i][dim] += change;
             // The first occurrence says what the letter is; the next that differs is to blame.
             const bool is_first = all.front().arg == static_cast<int>(i) && all.front().dim == static_cast<int>(dim);
             const Occurrence blamed = is_first && all.size() > 1 ? all[1] : Occurrence{static_cast<int>(i), static_cast<int>(dim)};
             return Wanted{LAMINA_INVALID_ARGUMENT, blamed.arg, blamed.dim};
           }});
  }
}

void stride_bends(const lamina_op &op, size_t i, const Draft &valid, std::vector<Bend> &bends) {
  for (const uint64_t offset : {UINT64_MAX, uint64_t{1} << 57})
    bends.push_back({"byte_offset past the address space", [i, offset](Stage &, Draft &draft) {
                       draft.tensors[i].byte_offset = offset;
                       return Wanted{LAMINA_INVALID_ARGUMENT, static_cast<int>(i), -1};
                     }});
  const lamina_arg &arg = op.args[i];
  const lamina_tensor &tensor = valid.tensors[i];
  const auto with_stride = [i](size_t dim, int64_t stride, int wanted_dim) {
    return [i, dim, stride, wanted_dim](Stage &, Draft &draft) {
      draft.strides[i][dim] = stride;
      return Wanted{LAMINA_INVALID_ARGUMENT, static_cast<int>(i), wanted_dim};
    };
  };
  for (int32_t d = 0; d < tensor.ndim; ++d) {
    const auto dim = static_cast<size_t>(d);
    if (valid.shapes[i][dim] < 2) continue;
    const std::string at = " of dimension " + std::to_string(d);
    bends.push_back({"negative stride" + at, with_stride(dim, -valid.strides[i][dim], d)});
    if (!(arg.flags & LAMINA_BROADCAST)) bends.push_back({"stride 0" + at, with_stride(dim, 0, d)});
    if ((arg.flags & LAMINA_LAST_CONTIGUOUS) && d == tensor.ndim - 1) bends.push_back({"last dimension with gaps", with_stride(dim, 2, d)});
    bends.push_back({"stride past the address space" + at, with_stride(dim, INT64_MAX / 2, d)});
    if (is_written(op, arg) && d != tensor.ndim - 1)
      bends.push_back({"stride that folds the output onto itself" + at, with_stride(dim, 1, -2)});
  }
}

void memory_bends(const lamina_op &op, size_t i, const Stage &stage, const Draft &valid, std::vector<Bend> &bends) {
  const lamina_arg &arg = op.args[i];
  const int index = static_cast<int>(i);
  const bool descriptor = arg.role == LAMINA_PARAM && stage.packed && op.kind != LAMINA_PACK;
  bends.push_back({"on another kind of device", [i, index](Stage &, Draft &draft) {
                     draft.tensors[i].device.type = 77;
                     return Wanted{LAMINA_WRONG_DEVICE, index, -2};
                   }});
  bends.push_back({"on another device", [i, index](Stage &, Draft &draft) {
                     draft.tensors[i].device.id += 1;
                     return Wanted{LAMINA_WRONG_DEVICE, index, -2};
                   }});
  // Saved bytes that infer asks for may not be absent.
  const bool required = !(arg.flags & LAMINA_OPTIONAL) || (arg.role == LAMINA_PACKED && op.kind == LAMINA_PACK) || arg.role == LAMINA_SAVED;
  if (required) {
    bends.push_back({"missing", [i, index](Stage &, Draft &draft) {
                       draft.pointers[i] = nullptr;
                       return Wanted{LAMINA_INVALID_ARGUMENT, index, -1};
                     }});
    bends.push_back({"cut off by tensor_count", [&op, i](Stage &, Draft &draft) {
                       draft.call.tensor_count = static_cast<uint32_t>(i);
                       return Wanted{LAMINA_INVALID_ARGUMENT, -2, -2};  // an earlier check may blame another that is cut off too
                     }});
  }
  if (arg.role == LAMINA_OUTPUT && arg.dtype_of >= 0 && (op.args[arg.dtype_of].flags & LAMINA_OPTIONAL))
    bends.push_back({"of an absent argument", [&op, i, index](Stage &, Draft &draft) {
                       draft.pointers[static_cast<size_t>(op.args[i].dtype_of)] = nullptr;
                       return Wanted{LAMINA_INVALID_ARGUMENT, index, -1};
                     }});
  if (descriptor || is_empty(valid.tensors[i])) return;
  bends.push_back({"data NULL", [i, index](Stage &, Draft &draft) {
                     draft.tensors[i].data = nullptr, draft.tensors[i].byte_offset = 0;
                     return Wanted{LAMINA_INVALID_ARGUMENT, index, -1};
                   }});
  const uint64_t align = arg.align ? arg.align : valid.tensors[i].dtype.bits / 8u;
  if (align > 1)
    bends.push_back({"misaligned", [i, index, align](Stage &, Draft &draft) {
                       draft.tensors[i].byte_offset += align / 2;
                       return Wanted{LAMINA_INVALID_ARGUMENT, index, -1};
                     }});
  if (!is_written(op, arg)) return;
  for (uint32_t other = 0; other < op.arg_count; ++other) {
    if (other == i || !valid.pointers[other] || !valid.tensors[other].data || is_empty(valid.tensors[other])) continue;
    const bool allowed = (arg.may_alias >> other & 1) || (op.args[other].may_alias >> i & 1);
    // Alignment of the written argument is kept, so that overlap is the only mistake.
    bends.push_back({std::string(allowed ? "overlaps '" : "is the memory of '") + op.args[other].name + "'",
                     [i, other, index, allowed, align](Stage &, Draft &draft) {
                       const auto address = reinterpret_cast<uintptr_t>(draft.tensors[other].data) + draft.tensors[other].byte_offset;
                       uintptr_t place = address & ~(static_cast<uintptr_t>(align) - 1);
                       if (allowed) place += align;
                       draft.tensors[i].data = reinterpret_cast<void *>(place), draft.tensors[i].byte_offset = 0;
                       return Wanted{LAMINA_INVALID_ARGUMENT, index, -1, static_cast<int>(other)};
                     }});
  }
}

// Every argument against the workspace: it belongs to nobody else.
void workspace_bends(const lamina_op &op, size_t i, const Stage &stage, const Draft &valid, std::vector<Bend> &bends) {
  if (!stage.need.workspace_size || !valid.tensors[i].data || is_empty(valid.tensors[i])) return;
  (void)op;
  bends.push_back({"overlaps the workspace", [i](Stage &stage_now, Draft &draft) {
                     const auto address = reinterpret_cast<uintptr_t>(draft.tensors[i].data) + draft.tensors[i].byte_offset;
                     const uintptr_t aligned = address & ~(static_cast<uintptr_t>(stage_now.need.workspace_align) - 1);
                     draft.call.workspace = reinterpret_cast<void *>(aligned);
                     draft.call.workspace_size = std::max<uint64_t>(stage_now.need.workspace_size, address - aligned + 1);
                     return Wanted{LAMINA_INVALID_ARGUMENT, -2, -2};
                   }});
}

// The base case with one more optional argument, where the table has it and the base hasn't.
Case with_argument(const Case &base, const std::string &name) {
  Case one = base;
  one.given.push_back(name);
  return one;
}

// Whether the op takes this case at all: optional arguments may exclude each other.
bool is_valid(Session &session, const lamina_op &op, const Case &one, bool packed) {
  try {
    set_stage(session, op, one, packed);
    return true;
  } catch (const Failure &) { return false; }
}

// Optional arguments that exclude others (two masks) are tried alone, without the other optional inputs.
std::optional<Case> case_with(Session &session, const lamina_op &op, const Case &base, const lamina_arg &arg, bool packed) {
  if (!(arg.flags & LAMINA_OPTIONAL) || arg.role == LAMINA_PACKED) return base;
  const std::string ending = "_gradient", own_name = arg.name;
  const Case of_owner = own_name.ends_with(ending) ? with_argument(base, own_name.substr(0, own_name.size() - ending.size())) : base;
  if (const Case one = with_argument(of_owner, arg.name); is_valid(session, op, one, packed)) return one;
  Case alone = base;
  alone.given = {arg.name};
  if (is_valid(session, op, alone, packed)) return alone;
  // A weight that comes only with its bias: everything that shares the first words of the name.
  const std::string name = arg.name;
  alone.given = {name.substr(0, name.rfind('_')) + "*"};
  if (is_valid(session, op, alone, packed)) return alone;
  return std::nullopt;
}

// The base with saved activations, where the op has the choice and the build takes it for this call (one may keep them for some shapes alone):
// else there are no saved bytes to get wrong.
Case saving(Session &session, const lamina_op &op, const Case &base, bool packed) {
  Case one = base;
  if (op.kind == LAMINA_PACK || attribute_named(op, "save") < 0) return one;
  one.attributes["save"] = std::string("activations");
  return is_valid(session, op, one, packed) ? one : base;
}

void add_argument_jobs(Session &session, const lamina_op &op, const Case &base, size_t i, bool packed, std::vector<Job> &jobs) {
  jobs.push_back(
      {"refusal", std::string(op.name) + (packed ? " (packed)" : ""), op.args[i].name, [&session, &op, &base, i, packed](Result &) {
         const std::optional<Case> one = case_with(session, op, saving(session, op, base, packed), op.args[i], packed);
         if (!one) fail(std::string("no valid call has argument '") + op.args[i].name + "'");
         std::vector<Bend> bends;
         {
           const auto stage = set_stage(session, op, *one, packed);
           const Draft valid(stage->call, op);
           if (!valid.pointers[i]) return;  // a packed argument of a call from raw weights
           rank_bends(i, bends);
           dtype_bends(op, i, *stage, bends);
           extent_bends(op, i, bends);
           stride_bends(op, i, valid, bends);
           memory_bends(op, i, *stage, valid, bends);
           workspace_bends(op, i, *stage, valid, bends);
           // An extent that only this argument has contradicts nothing in the table.
           std::erase_if(bends, [&](const Bend &bend) {
             const auto words = shape_words(op.args[i]);
             if (op.args[i].role == LAMINA_PACKED || op.args[i].role == LAMINA_SAVED) return false;  // the build knows how many bytes
             for (size_t dim = 0; dim < words.size(); ++dim)
               if ((bend.name == "smaller extent of dimension " + std::to_string(dim) ||
                    bend.name == "larger extent of dimension " + std::to_string(dim)) &&
                   occurrences(op, valid, words[dim]).size() < 2)
                 return true;
             return false;
           });
         }
         std::string wrong;
         for (const Bend &bend : bends) {
           const auto stage = set_stage(session, op, *one, packed);
           Draft draft(stage->call, op);
           const Wanted wanted = bend.apply(*stage, draft);
           try {
             expect_refusal(session, *stage, draft, wanted);
           } catch (const Failure &failure) { wrong += (wrong.empty() ? "" : "\n            ") + bend.name + ": " + failure.message; }
         }
         if (!wrong.empty()) fail(wrong);
       }});
}

}  // namespace

void add_refusal_jobs(Session &session, const CaseList &list, std::vector<Job> &jobs) {
  const Case *base = plain_case(session, list);
  if (!base) {
    jobs.push_back({"refusal", "base", "", [](Result &) { fail("the list has no plain case that this build takes"); }});
    return;
  }
  for (uint32_t o = 0; o < session.build.library().op_count; ++o) {
    const lamina_op &op = *session.build.library().ops[o];
    bool has_packed = false;
    for (uint32_t i = 0; i < op.arg_count; ++i) has_packed |= op.args[i].role == LAMINA_PACKED && op.kind != LAMINA_PACK;
    for (uint32_t i = 0; i < op.arg_count; ++i) add_argument_jobs(session, op, *base, i, false, jobs);
    for (uint32_t i = 0; has_packed && i < op.arg_count; ++i) add_argument_jobs(session, op, *base, i, true, jobs);
  }
}

}  // namespace lamina::conformance
