#include "manifest/elf_facts.h"

#include <algorithm>
#include <charconv>
#include <map>

#include "manifest/digest.h"
#include "manifest/elf_file.h"
#include "manifest/error.h"

namespace lamina::manifest {

namespace {

constexpr uint64_t max_versions = 10000;

std::string machine_name(uint16_t machine) {
  if (machine == EM_X86_64) return "x86_64";
  if (machine == EM_AARCH64) return "aarch64";
  return "machine-" + std::to_string(machine);
}

void read_segments(const ElfFile &file, ElfFacts &facts) {
  bool stack_said = false;
  for (const Elf64_Phdr &segment : file.segments()) {
    if (segment.p_type == PT_GNU_STACK) {
      stack_said = true;
      facts.executable_stack = facts.executable_stack || (segment.p_flags & PF_X);
    }
    if (segment.p_type == PT_LOAD && (segment.p_flags & PF_W) && (segment.p_flags & PF_X)) facts.writable_code = true;
    if (segment.p_type != PT_NOTE) continue;
    const auto align = [](uint64_t size) { return (size + 3) / 4 * 4; };
    file.range(segment.p_offset, segment.p_filesz);
    for (uint64_t at = 0; at + sizeof(Elf64_Nhdr) <= segment.p_filesz;) {
      const auto note = file.at<Elf64_Nhdr>(segment.p_offset + at);
      const uint64_t name = at + sizeof note, value = name + align(note.n_namesz), end = value + align(note.n_descsz);
      if (end > segment.p_filesz) break;  // notes aligned to 8 carry no build id; nothing depends on them
      if (note.n_type == NT_GNU_BUILD_ID && file.range(segment.p_offset + name, note.n_namesz) == std::string_view("GNU\0", 4))
        facts.build_id = to_hex(file.range(segment.p_offset + value, note.n_descsz).data(), note.n_descsz);
      at = end;
    }
  }
  if (!stack_said) facts.executable_stack = true;  // the loader then gives one
}

void read_dynamic(const ElfFile &file, ElfFacts &facts) {
  for (const Elf64_Dyn &entry : file.dynamic()) {
    const uint64_t value = entry.d_un.d_val;
    switch (entry.d_tag) {
      case DT_NEEDED: facts.needed.push_back(file.text(value)); break;
      case DT_SONAME: facts.soname = file.text(value); break;
      case DT_RPATH: facts.rpath = file.text(value); break;
      case DT_RUNPATH: facts.runpath = file.text(value); break;
      case DT_FILTER:
      case DT_AUXILIARY:
      case DT_AUDIT:
      case DT_DEPAUDIT: facts.loads.push_back(file.text(value)); break;
      case DT_TEXTREL: facts.text_relocations = true; break;
      case DT_FLAGS: facts.text_relocations = facts.text_relocations || (value & DF_TEXTREL); break;
      case DT_INIT:
      case DT_FINI: (entry.d_tag == DT_INIT ? facts.init_entries : facts.fini_entries) += 1; break;
      case DT_INIT_ARRAYSZ:
      case DT_PREINIT_ARRAYSZ: facts.init_entries += value / 8; break;
      case DT_FINI_ARRAYSZ: facts.fini_entries += value / 8; break;
      default: break;
    }
  }
}

struct Version {
  std::string name, library;
};

// Version index -> what it names, from DT_VERNEED.
std::map<uint16_t, Version> read_versions(const ElfFile &file, ElfFacts &facts) {
  std::map<uint16_t, Version> versions;
  const auto table = file.dynamic_value(DT_VERNEED);
  const uint64_t libraries = file.dynamic_value(DT_VERNEEDNUM).value_or(0);
  if (!table) return versions;
  if (libraries > max_versions) file.refuse("it needs too many versioned libraries");
  uint64_t at = *table;
  for (uint64_t i = 0; i < libraries; ++i) {
    const auto need = file.at_address<Elf64_Verneed>(at);
    const std::string library = file.text(need.vn_file);
    uint64_t entry_at = at + need.vn_aux;
    for (uint64_t j = 0; j < need.vn_cnt; ++j) {
      const auto entry = file.at_address<Elf64_Vernaux>(entry_at);
      const std::string name = file.text(entry.vna_name);
      versions[entry.vna_other & 0x7fff] = {name, library};
      facts.required_versions.push_back(library + " " + name);
      if (facts.required_versions.size() > max_versions) file.refuse("it needs too many versions");
      if (name.starts_with("GLIBC_") && (facts.max_glibc.empty() || compare_versions(name.substr(6), facts.max_glibc) > 0))
        facts.max_glibc = name.substr(6);
      if (entry.vna_next == 0) break;
      entry_at += entry.vna_next;
    }
    if (need.vn_next == 0) break;
    at += need.vn_next;
  }
  std::sort(facts.required_versions.begin(), facts.required_versions.end());
  return versions;
}

void read_symbols(const ElfFile &file, ElfFacts &facts) {
  const std::map<uint16_t, Version> versions = read_versions(file, facts);
  const uint64_t count = file.symbol_count();
  const auto version_table = file.dynamic_value(DT_VERSYM);
  for (uint64_t i = 1; i < count; ++i) {
    const auto symbol = file.at_address<Elf64_Sym>(*file.dynamic_value(DT_SYMTAB) + i * sizeof(Elf64_Sym));
    const unsigned binding = ELF64_ST_BIND(symbol.st_info);
    if (binding == STB_LOCAL) continue;
    const std::string name = file.text(symbol.st_name);
    if (symbol.st_shndx != SHN_UNDEF) {
      facts.exported.push_back(name);
      if (binding == STB_GNU_UNIQUE) facts.unique.push_back(name);
      continue;
    }
    UndefinedSymbol undefined{name, "", "", binding == STB_WEAK};
    if (version_table) {
      const auto found = versions.find(file.at_address<uint16_t>(*version_table + 2 * i) & 0x7fff);
      if (found != versions.end()) undefined.version = found->second.name, undefined.library = found->second.library;
    }
    facts.undefined.push_back(undefined);
  }
  std::sort(facts.exported.begin(), facts.exported.end());
}

void count_ifuncs(const ElfFile &file, ElfFacts &facts) {
  const uint64_t irelative = file.header().e_machine == EM_AARCH64 ? R_AARCH64_IRELATIVE : R_X86_64_IRELATIVE;
  const auto count = [&](int64_t table, int64_t size) {
    const auto at = file.dynamic_value(table), bytes = file.dynamic_value(size);
    if (!at || !bytes) return;
    const uint64_t offset = file.offset_of(*at, *bytes);
    for (uint64_t i = 0; (i + 1) * sizeof(Elf64_Rela) <= *bytes; ++i)
      if (ELF64_R_TYPE(file.at<Elf64_Rela>(offset + i * sizeof(Elf64_Rela)).r_info) == irelative) ++facts.ifunc_relocations;
  };
  count(DT_RELA, DT_RELASZ);
  count(DT_JMPREL, DT_PLTRELSZ);
}

bool is_glibc_library(const std::string &name) {
  static constexpr const char *allowed[] = {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1"};
  return std::find(std::begin(allowed), std::end(allowed), name) != std::end(allowed) || name.starts_with("ld-linux-");
}

}  // namespace

int compare_versions(std::string_view a, std::string_view b) {
  while (!a.empty() || !b.empty()) {
    uint64_t numbers[2] = {0, 0};
    std::string_view *texts[2] = {&a, &b};
    for (int i = 0; i < 2; ++i) {
      const size_t dot = std::min(texts[i]->find('.'), texts[i]->size());
      std::from_chars(texts[i]->data(), texts[i]->data() + dot, numbers[i]);
      texts[i]->remove_prefix(std::min(dot + 1, texts[i]->size()));
    }
    if (numbers[0] != numbers[1]) return numbers[0] < numbers[1] ? -1 : 1;
  }
  return 0;
}

ElfFacts read_elf(std::string_view bytes, const std::string &what) {
  const ElfFile file(bytes, what);
  ElfFacts facts;
  facts.machine = machine_name(file.header().e_machine);
  facts.shared_object = file.header().e_type == ET_DYN && !file.dynamic().empty();
  read_segments(file, facts);
  read_dynamic(file, facts);
  read_symbols(file, facts);
  count_ifuncs(file, facts);
  return facts;
}

std::vector<std::string> audit_plugin(const ElfFacts &facts, const std::string &glibc_floor) {
  std::vector<std::string> violations;
  const auto rule = [&](bool kept, const std::string &sentence) {
    if (!kept) violations.push_back(sentence);
  };
  rule(facts.shared_object, "it is not a shared object");
  // A build for tvm-ffi imports that runtime weakly, as nobody else does, and exports a function for each op.
  const bool tvm_ffi = std::any_of(facts.undefined.begin(), facts.undefined.end(),
                                   [](const UndefinedSymbol &symbol) { return symbol.weak && symbol.name.starts_with("TVMFFI"); });
  bool found = false;
  for (const std::string &name : facts.exported) {
    found = found || name == "lamina_library_v1";
    rule(name == "lamina_library_v1" || (tvm_ffi && name.starts_with("__tvm_ffi_")),
         "it exports " + name + "; only lamina_library_v1 may be exported");
  }
  rule(found, "it does not export lamina_library_v1");
  for (const std::string &library : facts.needed)
    rule(is_glibc_library(library), "it needs " + library + "; only glibc's own libraries are allowed");
  for (const std::string &library : facts.loads) rule(false, "it makes the loader open " + library + " as a filter or auditor");
  for (const std::string &version : facts.required_versions) {
    const std::string name = version.substr(version.find(' ') + 1);
    rule(name.starts_with("GLIBC_") && name != "GLIBC_PRIVATE" && compare_versions(name.substr(6), glibc_floor) <= 0,
         "it asks for " + version + "; the floor is GLIBC_" + glibc_floor);
  }
  rule(facts.rpath.empty() && facts.runpath.empty(), "it has the library search path " + facts.rpath + facts.runpath);
  rule(!facts.executable_stack, "it asks for an executable stack");
  rule(!facts.text_relocations, "it has text relocations");
  rule(!facts.writable_code, "it has a segment that is writable and executable");
  // Linked with -z defs, every symbol that is asked for has the version of the library that has it.
  for (const UndefinedSymbol &symbol : facts.undefined)
    rule(symbol.weak || !symbol.version.empty(),
         "it asks for the symbol " + symbol.name + ", which none of the libraries that it names has");
  for (const std::string &name : facts.unique) rule(false, "symbol " + name + " is STB_GNU_UNIQUE; copies of the build would share it");
  rule(facts.init_entries == 0, "it runs " + std::to_string(facts.init_entries) + " functions when loaded");
  rule(facts.fini_entries == 0, "it runs " + std::to_string(facts.fini_entries) + " functions when unloaded");
  rule(facts.ifunc_relocations == 0, "it has " + std::to_string(facts.ifunc_relocations) + " indirect functions, which run when loaded");
  return violations;
}

}  // namespace lamina::manifest
