#include "packager/c_header.h"

#include <algorithm>
#include <cctype>

namespace lamina::packager {
namespace {

std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

// A comment must not end early, whatever the contract says.
std::string comment(std::string text) {
  for (size_t at; (at = text.find("*/")) != std::string::npos;) text.replace(at, 2, "* /");
  return text;
}

std::string argument_comment(const manifest::ContractArgument &argument) {
  std::string text = "[" + argument.shape + "] " + argument.dtype;
  if (argument.optional) text += ", optional: NULL";
  if (!argument.doc.empty()) text += "; " + argument.doc;
  return comment(text);
}

std::string attribute_comment(const manifest::ContractAttribute &attribute) {
  std::string text = "default " + manifest::text_of(attribute.default_value);
  for (size_t i = 0; i < attribute.values.size(); ++i) text += (i ? ", " : "; one of ") + attribute.values[i];
  return comment(text + "; " + attribute.doc);
}

void write_op(const manifest::Contract &contract, const manifest::ContractOp &op, std::string &out) {
  const std::string prefix = contract.layer + "_" + op.name;
  out += "\n/* ---- op \"" + op.name + "\" ---- " + comment(op.doc) + " */\n\nenum {\n";
  for (const std::string &name : op.arguments) out += "  " + upper(prefix + "_" + name) + ",\n";
  out += "  " + upper(prefix) + "_ARGUMENTS\n};\n\ntypedef struct " + prefix + "_arguments {\n";
  for (const std::string &name : op.arguments)
    out += "  const lamina_tensor *" + name + "; /* " + argument_comment(*contract.argument(name)) + " */\n";
  out += "} " + prefix + "_arguments;\n\n";
  out += "/* Fills `table`, room for " + upper(prefix) + "_ARGUMENTS pointers, in the order of the ABI. */\n";
  out += "static inline lamina_call " + prefix + "_call(const " + prefix +
         "_arguments *arguments, const lamina_tensor **table, void *stream,\n" + std::string(prefix.size() + 32, ' ') +
         "void *workspace, uint64_t workspace_size) {\n  lamina_call call;\n";
  for (const std::string &name : op.arguments) out += "  table[" + upper(prefix + "_" + name) + "] = arguments->" + name + ";\n";
  out += "  call.struct_size = (uint32_t)sizeof call;\n  call.tensor_count = " + upper(prefix) +
         "_ARGUMENTS;\n  call.tensors = table;\n"
         "  call.stream = stream;\n  call.workspace = workspace;\n  call.workspace_size = workspace_size;\n  return call;\n}\n\n";
  out += "/* What these shapes need; data pointers may be NULL.  [pure] [thread-safe] */\n";
  out += "static inline lamina_status " + prefix + "_need(const lamina_op *op, const lamina_plan *plan, const " + prefix +
         "_arguments *arguments,\n    lamina_need *need, lamina_error *error) {\n  const lamina_tensor *table[" + upper(prefix) +
         "_ARGUMENTS];\n  const lamina_call call = " + prefix +
         "_call(arguments, table, NULL, NULL, 0);\n  need->struct_size = (uint32_t)sizeof *need;\n  return op->plan_need(plan, &call, "
         "need, error);\n}\n\n";
  out += "/* [async on stream] [thread-safe] */\n";
  out += "static inline lamina_status " + prefix + "_run(const lamina_op *op, const lamina_plan *plan, const " + prefix +
         "_arguments *arguments,\n    void *stream, void *workspace, uint64_t workspace_size, lamina_error *error) {\n  const "
         "lamina_tensor *table[" +
         upper(prefix) + "_ARGUMENTS];\n  const lamina_call call = " + prefix +
         "_call(arguments, table, stream, workspace, workspace_size);\n  return op->run(plan, &call, error);\n}\n";
}

}  // namespace

std::string c_header(const manifest::Contract &contract) {
  const std::string guard = "LAMINA_LAYER_" + upper(contract.layer) + "_H";
  std::string out = "/* " + contract.layer + " " + contract.version + ": " + comment(contract.title) +
                    ".\n * Generated from the layer's contract.  This header is source compatibility; the binary one is lamina_abi.h "
                    "alone.\n */\n#ifndef " +
                    guard + "\n#define " + guard + "\n\n#include \"lamina_abi.h\"\n\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n";
  out +=
      "#define " + upper(contract.layer) + "_VERSION \"" + contract.version + "\"\n\n/* Attributes, given at plan creation by name. */\n";
  for (const manifest::ContractAttribute &attribute : contract.attributes)
    out += "#define " + upper(contract.layer + "_" + attribute.name) + " \"" + attribute.name + "\" /* " + attribute_comment(attribute) +
           " */\n";
  for (const manifest::ContractOp &op : contract.ops) write_op(contract, op, out);
  return out + "\n#ifdef __cplusplus\n}\n#endif\n#endif\n";
}

}  // namespace lamina::packager
