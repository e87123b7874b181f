// lamina_hub.h: resolve, fetch, open, load.
#include "hub_client/c_api.h"
#include "hub_client/explanation.h"

namespace lamina::hub {
namespace {

std::unique_ptr<lamina_hub_bundle> bundle_of(Fetched fetched, bool resolved_only) {
  auto made = std::make_unique<lamina_hub_bundle>();
  made->resolved_only = resolved_only;
  made->layer = fetched.manifest.layer, made->version = fetched.manifest.version;
  made->arch = fetched.build.arch, made->build_id = fetched.build.build_id;
  made->build_path = (fetched.directory / fetched.build.file).string(), made->directory = fetched.directory.string();
  if (fetched.report.signed_by) made->signed_by = fetched.report.signed_by->id_text();
  made->manifest_text = manifest::write_manifest(fetched.manifest), made->contract_text = fetched.manifest.contract_json;
  made->explanation = explanation(fetched, fetched.directory.string());
  made->contract = manifest::parse_contract(made->contract_text, manifest::manifest_file);
  made->fetched = std::move(fetched);
  for (const auto &[name, text] : made->fetched->manifest.hosts) made->hosts.push_back(name.c_str());
  return made;
}

std::unique_ptr<lamina_hub_bundle> bundle_of_build(const std::string &file) {
  auto made = std::make_unique<lamina_hub_bundle>();
  made->library = load_build(file);
  const lamina_library &library = *made->library;
  made->layer = library.name, made->version = library.version, made->arch = library.target, made->build_id = library.build_id;
  made->build_path = file, made->contract_text.assign(library.contract, library.contract_size);
  made->explanation = file + ": a build without bundle; its ELF headers were audited, nobody vouches for it\n";
  made->contract = manifest::parse_contract(made->contract_text, file);
  return made;
}

void get(const lamina_hub_client *client, const char *name, bool resolve_only, lamina_hub_bundle **bundle) {
  const lamina_hub_client &known = required(client, "client");
  required(bundle, "bundle");
  FetchOptions options = known.options;
  options.resolve_only = resolve_only;
  *bundle = bundle_of(known.client->fetch(&required(name, "name"), options), resolve_only).release();
}

lamina_hub_info info_of(const lamina_hub_bundle &bundle) {
  lamina_hub_info info{};
  info.host_count = static_cast<uint32_t>(bundle.hosts.size()), info.hosts = bundle.hosts.data();
  info.layer = bundle.layer.c_str(), info.version = bundle.version.c_str();
  info.arch = bundle.arch.c_str(), info.build_id = bundle.build_id.c_str(), info.build_path = bundle.build_path.c_str();
  info.repository = info.revision = info.commit = info.variant = "";
  info.directory = bundle.directory.c_str(), info.signed_by = bundle.signed_by.c_str();
  info.manifest = bundle.manifest_text.c_str(), info.contract = bundle.contract_text.c_str();
  info.explanation = bundle.explanation.c_str();
  if (!bundle.fetched) return info;
  info.repository = bundle.fetched->repository.c_str(), info.revision = bundle.fetched->revision.c_str();
  info.commit = bundle.fetched->commit.c_str(), info.variant = bundle.fetched->variant.c_str();
  info.counter = bundle.fetched->bundle.counter, info.downloaded_bytes = bundle.fetched->downloaded_bytes;
  return info;
}

}  // namespace
}  // namespace lamina::hub

using namespace lamina;
using namespace lamina::hub;

extern "C" {

lamina_hub_status lamina_hub_resolve(const lamina_hub_client *client, const char *name, lamina_hub_bundle **bundle,
                                     lamina_hub_error *error) {
  if (bundle) *bundle = nullptr;
  return guarded(error, [&] { get(client, name, true, bundle); });
}

lamina_hub_status lamina_hub_fetch(const lamina_hub_client *client, const char *name, lamina_hub_bundle **bundle, lamina_hub_error *error) {
  if (bundle) *bundle = nullptr;
  return guarded(error, [&] { get(client, name, false, bundle); });
}

lamina_hub_status lamina_hub_open_folder(const lamina_hub_client *client, const char *folder, lamina_hub_bundle **bundle,
                                         lamina_hub_error *error) {
  if (bundle) *bundle = nullptr;
  return guarded(error, [&] {
    const lamina_hub_client &known = required(client, "client");
    required(bundle, "bundle");
    *bundle = bundle_of(known.client->open_folder(&required(folder, "folder"), known.options), false).release();
  });
}

lamina_hub_status lamina_hub_open_build(const lamina_hub_client *client, const char *file, lamina_hub_bundle **bundle,
                                        lamina_hub_error *error) {
  if (bundle) *bundle = nullptr;
  return guarded(error, [&] {
    required(client, "client");
    required(bundle, "bundle");
    *bundle = bundle_of_build(&required(file, "file")).release();
  });
}

void lamina_hub_bundle_close(lamina_hub_bundle *bundle) { delete bundle; }

lamina_hub_status lamina_hub_bundle_info(const lamina_hub_bundle *bundle, lamina_hub_info *info, lamina_hub_error *error) {
  return guarded(error, [&] { write_struct(info_of(required(bundle, "bundle")), info, "lamina_hub_info"); });
}

lamina_hub_status lamina_hub_load(lamina_hub_bundle *bundle, const lamina_library **library, lamina_hub_error *error) {
  if (library) *library = nullptr;
  return guarded(error, [&] {
    lamina_hub_bundle &known = required(bundle, "bundle");
    required(library, "library");
    if (known.resolved_only)
      throw Error(ErrorKind::invalid_argument, known.build_path + " was only resolved; call lamina_hub_fetch for a bundle to load");
    const std::lock_guard lock(known.loading);
    if (!known.library) known.library = load(*known.fetched).library;
    *library = known.library;
  });
}

}  // extern "C"
