// manifest.json.
#include <algorithm>
#include <set>

#include "manifest/bundle.h"
#include "manifest/contract.h"
#include "manifest/error.h"
#include "manifest/host_binding.h"
#include "manifest/json.h"
#include "manifest/schema.h"

namespace lamina::manifest {

namespace {

Manifest read_members(const Json &json) {
  Manifest manifest;
  manifest.layer = json.at("layer");
  manifest.version = json.at("version");
  manifest.contract_json = write_json(json.at("contract"));
  for (const auto &[name, host] : json.at("hosts").items()) manifest.hosts[name] = write_json(host);
  for (const Json &build : json.at("builds"))
    manifest.builds.push_back({build.at("file"), build.at("arch"), build.at("build_id"), build.at("rank"), build.at("requires").dump()});
  std::stable_sort(manifest.builds.begin(), manifest.builds.end(),
                   [](const Build &a, const Build &b) { return a.rank != b.rank ? a.rank < b.rank : a.file < b.file; });
  return manifest;
}

}  // namespace

Manifest parse_manifest(std::string_view text, const std::string &what) {
  const Json json = parse_json(text, what);
  validate(json, "manifest", what);
  const auto refuse = [&](const std::string &why) { return Error(ErrorKind::malformed, what + ": " + why); };
  Manifest manifest = read_members(json);
  const Contract contract = contract_of(json.at("contract"), what + ", contract");
  if (contract.layer != manifest.layer || contract.version != manifest.version) throw refuse("layer and version are not the contract's");
  for (const auto &[name, host] : json.at("hosts").items())
    if (host_binding_of(host, contract, what + ", host " + name).host != name)
      throw refuse("host " + name + " calls itself something else");
  std::set<std::string> files, archs;
  for (const Build &build : manifest.builds)
    if (!files.insert(build.file).second || !archs.insert(build.arch).second)
      throw refuse("two builds share the file " + build.file + " or the arch " + build.arch);
  return manifest;
}

Manifest read_checked_manifest(std::string_view text, const std::string &what) {
  try {
    return read_members(parse_json(text, what));
  } catch (const Json::exception &error) { throw Error(ErrorKind::malformed, what + ": " + error.what()); }
}

std::string write_manifest(const Manifest &manifest) {
  Json hosts = Json::object(), builds = Json::array();
  for (const auto &[name, host] : manifest.hosts) hosts[name] = parse_json(host, "host " + name);
  for (const Build &build : manifest.builds)
    builds.push_back({{"file", build.file},
                      {"arch", build.arch},
                      {"build_id", build.build_id},
                      {"rank", build.rank},
                      {"requires", parse_json(build.requires_json, "requires of " + build.file)}});
  std::string text = write_json({{"schema", "lamina/manifest/1"},
                                 {"layer", manifest.layer},
                                 {"version", manifest.version},
                                 {"contract", parse_json(manifest.contract_json, "contract")},
                                 {"hosts", hosts},
                                 {"builds", builds}});
  parse_manifest(text, manifest_file);
  return text;
}

}  // namespace lamina::manifest
