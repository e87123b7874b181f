// lamina_hub.h as a C host sees it: every failure is a status with a sentence, structs may be shorter or longer, handles outlive each other
// as the header says.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <dlfcn.h>

#include <cstddef>
#include <cstring>
#include <thread>

#include "hub_client/lamina_hub.h"
#include "hub_client/tests/fake_hub.h"
#include "manifest/safetensors.h"

using namespace lamina;
using namespace lamina::hub::test;
using manifest::test::write;

// Members are only ever appended: where the last ones of version 1 lie.
static_assert(offsetof(lamina_hub_error, message) == 8);
static_assert(offsetof(lamina_hub_progress, all_total) == 40);
static_assert(offsetof(lamina_hub_options, signatures) == 56);
static_assert(offsetof(lamina_hub_options, progress) == 96);
static_assert(offsetof(lamina_hub_info, explanation) == 120);
static_assert(offsetof(lamina_hub_info, downloaded_bytes) == 136);
static_assert(offsetof(lamina_hub_checkpoint, layer) == 40);
static_assert(offsetof(lamina_hub_bound, host_class) == 40);
static_assert(sizeof(lamina_hub_error) == 1024 && sizeof(lamina_hub_argument) == 16 && sizeof(lamina_hub_dim) == 16);

namespace {

lamina_hub_error fresh_error() {
  lamina_hub_error error;
  std::memset(&error, 'x', sizeof error);
  error.struct_size = sizeof error;
  return error;
}

// A site, its bundle's build id told truly, and a client to it.
struct Host : Site {
  Host() {
    for (const char *name :
         {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "LOCAL_KERNELS", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT"})
      unsetenv(name);
    manifest::Manifest text = manifest::test::small_manifest();
    setenv("XDG_STATE_HOME", (folder / "state").c_str(), 1);
    text.builds[0].build_id = hub::load_build("build/plugins/" + manifest::test::plugin_name())->build_id;
    write(variant.at("manifest.json"), manifest::write_manifest(text));
    variant.seal();
    upload();
    endpoint = environment.endpoint, cache = environment.cache.string(), trust_file = environment.trust_file.string();
    options.struct_size = sizeof options;
    options.endpoint = endpoint.c_str(), options.cache = cache.c_str(), options.trust_file = trust_file.c_str(), options.token = "";
    options.backend = "cpu";
  }
  ~Host() { lamina_hub_close(client); }
  lamina_hub_client *open() {
    lamina_hub_close(client);
    lamina_hub_error error = fresh_error();
    CHECK_MESSAGE(lamina_hub_open(&options, &client, &error) == LAMINA_HUB_OK, error.message);
    return client;
  }
  lamina_hub_bundle *fetch() {
    lamina_hub_error error = fresh_error();
    lamina_hub_bundle *bundle = nullptr;
    CHECK_MESSAGE(lamina_hub_fetch(open(), (repository + "@v1").c_str(), &bundle, &error) == LAMINA_HUB_OK, error.message);
    return bundle;
  }
  std::string endpoint, cache, trust_file;
  lamina_hub_options options{};
  lamina_hub_client *client = nullptr;
};

lamina_hub_info info_of(const lamina_hub_bundle *bundle) {
  lamina_hub_info info{};
  info.struct_size = sizeof info;
  CHECK(lamina_hub_bundle_info(bundle, &info, nullptr) == LAMINA_HUB_OK);
  return info;
}

struct Checkpoint {  // Boltz's names, C = H = 8
  explicit Checkpoint(const std::filesystem::path &path) : file(path.string()) {
    std::string header = R"({"odd":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})", data(1, '\0');
    const auto add = [&](const char *name, int64_t rows, int64_t columns) {
      const std::string shape = columns ? std::to_string(rows) + "," + std::to_string(columns) : std::to_string(rows);
      const size_t begin = data.size();
      for (int64_t i = 0; i < rows * std::max<int64_t>(columns, 1); ++i) {
        const float value = static_cast<float>(i) + 0.5f;
        data.append(reinterpret_cast<const char *>(&value), sizeof value);
      }
      header += std::string(R"(,"block.tri_mul_in.)") + name + R"(":{"dtype":"F32","shape":[)" + shape + R"(],"data_offsets":[)" +
                std::to_string(begin) + "," + std::to_string(data.size()) + "]}";
    };
    add("norm_in.weight", 8, 0), add("norm_in.bias", 8, 0), add("p_in.weight", 16, 8), add("g_in.weight", 16, 8);
    add("norm_out.weight", 8, 0), add("norm_out.bias", 8, 0), add("p_out.weight", 8, 8), add("g_out.weight", 8, 8);
    header += "}";
    header.resize((header.size() + 7) / 8 * 8, ' ');
    const uint64_t length = header.size();
    write(path, std::string(reinterpret_cast<const char *>(&length), sizeof length) + header + data);
    given.struct_size = sizeof given;
    given.file = file.c_str(), given.host = "boltz", given.prefix = "block.tri_mul_in";
  }
  std::string file;
  lamina_hub_checkpoint given{};
};

}  // namespace

TEST_CASE("fetch, load, and the library outlives bundle and client") {
  Host host;
  lamina_hub_bundle *bundle = host.fetch();
  REQUIRE(bundle != nullptr);
  const lamina_hub_info info = info_of(bundle);
  CHECK(std::string(info.layer) == "triangle_multiplication");
  CHECK(std::string(info.arch) == "reference");
  CHECK(std::string(info.repository) == repository);
  CHECK(std::string(info.commit) == commit);
  CHECK(std::string(info.signed_by) == host.variant.key.public_key().id_text());
  CHECK(info.counter == 7);
  CHECK(info.downloaded_bytes > 0);
  REQUIRE(info.host_count == 1);
  CHECK(std::string(info.hosts[0]) == "boltz");
  CHECK(has(info.explanation, "> torch-stable-abi29-cpu-x86_64-linux"));
  CHECK(has(info.manifest, "\"builds\""));
  CHECK(has(info.contract, "\"tolerances\""));
  const lamina_library *library = nullptr, *again = nullptr;
  REQUIRE(lamina_hub_load(bundle, &library, nullptr) == LAMINA_HUB_OK);
  CHECK(lamina_hub_load(bundle, &again, nullptr) == LAMINA_HUB_OK);
  CHECK(again == library);
  lamina_hub_close(host.client), host.client = nullptr;
  lamina_hub_bundle_close(bundle);
  CHECK(std::string(library->name) == "triangle_multiplication");
}

TEST_CASE("resolve downloads no build, and what it gives does not load") {
  Host host;
  lamina_hub_error error = fresh_error();
  lamina_hub_bundle *bundle = nullptr;
  REQUIRE(lamina_hub_resolve(host.open(), repository.c_str(), &bundle, &error) == LAMINA_HUB_OK);
  CHECK(std::string(info_of(bundle).arch) == "reference");
  CHECK(!std::filesystem::exists(info_of(bundle).build_path));
  const lamina_library *library = reinterpret_cast<const lamina_library *>(&host);
  CHECK(lamina_hub_load(bundle, &library, &error) == LAMINA_HUB_INVALID_ARGUMENT);
  CHECK(library == nullptr);
  CHECK(has(error.message, "lamina_hub_fetch"));
  lamina_hub_bundle_close(bundle);
}

TEST_CASE("a folder is verified as a fetched bundle is") {
  Host host;
  lamina_hub_error error = fresh_error();
  lamina_hub_bundle *bundle = nullptr;
  host.options.flags = LAMINA_HUB_NO_NETWORK;
  for (const std::string &folder :
       {host.variant.path().string(), host.variant.path().string() + "/", host.variant.path().parent_path().string()}) {
    REQUIRE_MESSAGE(lamina_hub_open_folder(host.open(), folder.c_str(), &bundle, &error) == LAMINA_HUB_OK, error.message);
    CHECK(std::string(info_of(bundle).variant) == "torch-stable-abi29-cpu-x86_64-linux");
    const lamina_library *library = nullptr;
    CHECK(lamina_hub_load(bundle, &library, &error) == LAMINA_HUB_OK);
    lamina_hub_bundle_close(bundle);
  }
  std::filesystem::remove(host.environment.trust_file);
  CHECK(lamina_hub_open_folder(host.client, host.variant.path().c_str(), &bundle, &error) == LAMINA_HUB_UNTRUSTED);
  CHECK(bundle == nullptr);
  host.trust(host.variant.key);
  write(host.variant.at("__init__.py"), "# another\n");
  CHECK(lamina_hub_open_folder(host.client, host.variant.path().c_str(), &bundle, &error) == LAMINA_HUB_INTEGRITY);
  CHECK(lamina_hub_open_folder(host.client, (host.folder / "none").c_str(), &bundle, &error) == LAMINA_HUB_NOT_FOUND);
  std::filesystem::create_directories(host.folder / "empty");
  CHECK(lamina_hub_open_folder(host.client, (host.folder / "empty").c_str(), &bundle, &error) == LAMINA_HUB_NOT_FOUND);
  CHECK(has(error.message, "no bundle.json"));
  CHECK(host.hub.server().seen().empty());
}

TEST_CASE("a checkpoint is bound, aligned, and outlives the bundle") {
  Host host;
  lamina_hub_error error = fresh_error();
  lamina_hub_bundle *bundle = host.fetch();
  const Checkpoint checkpoint(host.folder / "model.safetensors");
  lamina_hub_binding *binding = nullptr;
  REQUIRE_MESSAGE(lamina_hub_bind(bundle, &checkpoint.given, &binding, &error) == LAMINA_HUB_OK, error.message);
  const lamina_library *library = nullptr;
  REQUIRE(lamina_hub_load(bundle, &library, &error) == LAMINA_HUB_OK);
  lamina_hub_bundle_close(bundle);
  lamina_hub_bound bound{};
  bound.struct_size = sizeof bound;
  REQUIRE(lamina_hub_binding_info(binding, &bound, &error) == LAMINA_HUB_OK);
  CHECK(std::string(bound.host_class) == "TriangleMultiplicationIncoming");
  std::map<std::string, const lamina_tensor *> by_name;
  for (uint32_t i = 0; i < bound.argument_count; ++i) by_name[bound.arguments[i].name] = bound.arguments[i].tensor;
  CHECK(by_name.at("a_projection_bias") == nullptr);
  const lamina_tensor *b = by_name.at("b_gate_weight");
  REQUIRE(b != nullptr);
  REQUIRE(b->ndim == 2);
  CHECK(b->shape[0] == 8);
  CHECK(b->strides[1] == 1);
  CHECK(reinterpret_cast<uintptr_t>(b->data) % sizeof(float) == 0);
  CHECK(static_cast<const float *>(b->data)[3] == 64 + 3 + 0.5f);  // the second half of g_in
  std::map<std::string, std::string> words;
  for (uint32_t i = 0; i < bound.attribute_count; ++i)
    if (bound.attributes[i].kind == LAMINA_ATTR_STRING) words[bound.attributes[i].name] = bound.attributes[i].value.s;
  CHECK(words.at("direction") == "incoming");
  std::map<std::string, int64_t> dims;
  for (uint32_t i = 0; i < bound.dim_count; ++i) dims[bound.dims[i].name] = bound.dims[i].extent;
  CHECK(dims.at("C") == 8);

  const lamina_op &forward = *library->ops[0];
  std::vector<const lamina_tensor *> table(forward.arg_count, nullptr);
  std::vector<lamina_attr> attributes(forward.attr_count);
  CHECK(lamina_hub_place(binding, &forward, table.data()) == 10);
  CHECK(table[0] == nullptr);
  const uint32_t count = lamina_hub_attributes(binding, &forward, attributes.data());
  CHECK(count == bound.attribute_count);
  lamina_plan_desc desc{};
  desc.struct_size = sizeof desc, desc.device = {LAMINA_CPU, 0}, desc.attrs = attributes.data(), desc.attr_count = count;
  lamina_plan *plan = nullptr;
  CHECK(forward.plan_create(&forward, &desc, &plan, nullptr) == LAMINA_OK);
  forward.plan_destroy(plan);
  CHECK(lamina_hub_place(nullptr, &forward, table.data()) == 0);
  CHECK(lamina_hub_attributes(binding, nullptr, attributes.data()) == 0);
  lamina_hub_binding_close(binding);
}

TEST_CASE("what is wrong with a checkpoint is said") {
  Host host;
  lamina_hub_bundle *bundle = host.fetch();
  const Checkpoint checkpoint(host.folder / "model.safetensors");
  const auto refused = [&](lamina_hub_status status, const char *part, auto change) {
    lamina_hub_checkpoint given = checkpoint.given;
    change(given);
    lamina_hub_error error = fresh_error();
    lamina_hub_binding *binding = reinterpret_cast<lamina_hub_binding *>(&host);
    CHECK_MESSAGE(lamina_hub_bind(bundle, &given, &binding, &error) == status, error.message);
    CHECK(binding == nullptr);
    CHECK(error.status == status);
    CHECK_MESSAGE(has(error.message, part), error.message);
  };
  refused(LAMINA_HUB_NOT_FOUND, "nobody", [](auto &given) { given.host = "nobody"; });
  refused(LAMINA_HUB_NOT_FOUND, "none.safetensors", [](auto &given) { given.file = "none.safetensors"; });
  refused(LAMINA_HUB_NOT_FOUND, "block.tri_mul_in", [](auto &given) { given.prefix = "block.tri_mul_out"; });
  refused(LAMINA_HUB_NOT_FOUND, "TriangleMultiplicationOutgoing", [](auto &given) { given.host_class = "Square"; });
  refused(LAMINA_HUB_INVALID_ARGUMENT, "layer", [](auto &given) { given.flags = LAMINA_HUB_STACKED_LAYER; });
  refused(LAMINA_HUB_INVALID_ARGUMENT, "host is NULL", [](auto &given) { given.host = nullptr; });
  refused(LAMINA_HUB_UNSUPPORTED, "flags", [](auto &given) { given.flags = 128; });
  lamina_hub_bundle_close(bundle);
}

TEST_CASE("a lone build loads and binds by a binding's file") {
  Host host;
  lamina_hub_error error = fresh_error();
  lamina_hub_bundle *bundle = nullptr;
  const std::string file = "build/plugins/" + manifest::test::plugin_name();
  REQUIRE_MESSAGE(lamina_hub_open_build(host.open(), file.c_str(), &bundle, &error) == LAMINA_HUB_OK, error.message);
  CHECK(std::string(info_of(bundle).arch) == "reference");
  CHECK(std::string(info_of(bundle).repository).empty());
  Checkpoint checkpoint(host.folder / "model.safetensors");
  lamina_hub_binding *binding = nullptr;
  CHECK(lamina_hub_bind(bundle, &checkpoint.given, &binding, &error) == LAMINA_HUB_NOT_FOUND);
  checkpoint.given.host = "layers/triangle_multiplication/hosts/boltz.json";
  CHECK_MESSAGE(lamina_hub_bind(bundle, &checkpoint.given, &binding, &error) == LAMINA_HUB_OK, error.message);
  lamina_hub_binding_close(binding);
  lamina_hub_bundle_close(bundle);
  write(host.folder / "no.so", "not an ELF file");
  CHECK(lamina_hub_open_build(host.client, (host.folder / "no.so").c_str(), &bundle, &error) == LAMINA_HUB_MALFORMED);
  CHECK(lamina_hub_open_build(host.client, (host.folder / "none.so").c_str(), &bundle, &error) == LAMINA_HUB_NOT_FOUND);
}

TEST_CASE("callbacks: what is said, what came, and stop") {
  Host host;
  struct Seen {
    std::vector<std::string> sentences;
    uint64_t done = 0, total = 0, calls = 0, stop_after = UINT64_MAX;
  } seen;
  host.options.context = &seen;
  host.options.log = [](void *context, int32_t level, const char *sentence) {
    static_cast<Seen *>(context)->sentences.push_back(std::to_string(level) + " " + sentence);
  };
  host.options.progress = [](void *context, const lamina_hub_progress *now) -> int32_t {
    Seen &one = *static_cast<Seen *>(context);
    one.done = now->all_done, one.total = now->all_total;
    return ++one.calls > one.stop_after;
  };
  seen.stop_after = 1;
  lamina_hub_error error = fresh_error();
  lamina_hub_bundle *bundle = nullptr;
  CHECK(lamina_hub_fetch(host.open(), repository.c_str(), &bundle, &error) == LAMINA_HUB_INTERRUPTED);
  CHECK(bundle == nullptr);
  CHECK(has(error.message, "stopped"));
  seen.stop_after = UINT64_MAX;
  bundle = host.fetch();
  CHECK(seen.done == seen.total);
  CHECK(!seen.sentences.empty());
  lamina_hub_bundle_close(bundle);
  std::filesystem::remove(host.environment.trust_file);
  host.options.signatures = LAMINA_HUB_SIGNATURES_WARN;
  seen.sentences.clear();
  lamina_hub_bundle_close(host.fetch());
  REQUIRE(!seen.sentences.empty());
  CHECK(seen.sentences.back().starts_with("2 signature"));
}

TEST_CASE("options reach the resolver") {
  Host host;
  const auto refused = [&](lamina_hub_status status, const char *part) {
    lamina_hub_error error = fresh_error();
    lamina_hub_bundle *bundle = nullptr;
    CHECK_MESSAGE(lamina_hub_fetch(host.open(), repository.c_str(), &bundle, &error) == status, error.message);
    CHECK_MESSAGE(has(error.message, part), error.message);
    CHECK(bundle == nullptr);
  };
  host.options.flags = LAMINA_HUB_NO_NETWORK;
  refused(LAMINA_HUB_OFFLINE, "not in the cache");
  CHECK(host.hub.server().seen().empty());
  host.options.flags = 0;
  host.options.arch = "cpu_z80";
  refused(LAMINA_HUB_UNSUPPORTED, "is not cpu_z80, which was asked for");
  host.options.arch = nullptr;
  host.options.torch_major = 2, host.options.torch_minor = 8;
  refused(LAMINA_HUB_UNSUPPORTED, "too new");
  host.options.torch_minor = 9;
  lamina_hub_bundle_close(host.fetch());
  host.options.backend = "cu130";
  refused(LAMINA_HUB_UNSUPPORTED, "wanted cu130");
}

TEST_CASE("options that cannot be are refused") {
  Host host;
  const auto refused = [&](lamina_hub_status status, const char *part, auto change) {
    lamina_hub_options given = host.options;
    change(given);
    lamina_hub_error error = fresh_error();
    lamina_hub_client *client = reinterpret_cast<lamina_hub_client *>(&host);
    CHECK_MESSAGE(lamina_hub_open(&given, &client, &error) == status, error.message);
    CHECK(client == nullptr);
    CHECK_MESSAGE(has(error.message, part), error.message);
  };
  refused(LAMINA_HUB_INVALID_ARGUMENT, "struct_size", [](auto &given) { given.struct_size = 0; });
  refused(LAMINA_HUB_UNSUPPORTED, "flags", [](auto &given) { given.flags = 2; });
  refused(LAMINA_HUB_UNSUPPORTED, "reserved", [](auto &given) { given.reserved = 1; });
  refused(LAMINA_HUB_UNSUPPORTED, "signatures", [](auto &given) { given.signatures = 3; });
  refused(LAMINA_HUB_INVALID_ARGUMENT, "ftp://hub", [](auto &given) { given.endpoint = "ftp://hub"; });
  refused(LAMINA_HUB_INVALID_ARGUMENT, "cache", [](auto &given) { given.cache = ""; });
  refused(LAMINA_HUB_INVALID_ARGUMENT, "token", [](auto &given) { given.token = "a\r\nX: b"; });
  refused(LAMINA_HUB_INVALID_ARGUMENT, "torch", [](auto &given) { given.torch_major = -1; });
  CHECK(lamina_hub_open(&host.options, nullptr, nullptr) == LAMINA_HUB_INVALID_ARGUMENT);
}

TEST_CASE("structs of another version") {
  Host host;
  lamina_hub_error error = fresh_error();
  struct Longer {
    lamina_hub_options known;
    uint64_t later;
  } longer{host.options, 0};
  longer.known.struct_size = sizeof longer;
  lamina_hub_client *client = nullptr;
  CHECK(lamina_hub_open(&longer.known, &client, &error) == LAMINA_HUB_OK);
  lamina_hub_close(client);
  longer.later = 1;
  CHECK(lamina_hub_open(&longer.known, &client, &error) == LAMINA_HUB_UNSUPPORTED);
  // A host of a time before `progress`: what lies behind its struct is not looked at.
  lamina_hub_options shorter = host.options;
  shorter.struct_size = offsetof(lamina_hub_options, context);
  shorter.progress = [](void *, const lamina_hub_progress *) -> int32_t { return 1; };
  CHECK(lamina_hub_open(&shorter, &client, &error) == LAMINA_HUB_OK);
  lamina_hub_bundle *bundle = nullptr;
  CHECK_MESSAGE(lamina_hub_fetch(client, repository.c_str(), &bundle, &error) == LAMINA_HUB_OK, error.message);
  lamina_hub_close(client);

  lamina_hub_info info{};
  info.struct_size = offsetof(lamina_hub_info, version);
  info.version = "untouched";
  CHECK(lamina_hub_bundle_info(bundle, &info, &error) == LAMINA_HUB_OK);
  CHECK(std::string(info.layer) == "triangle_multiplication");
  CHECK(std::string(info.version) == "untouched");
  info.struct_size = 0;
  CHECK(lamina_hub_bundle_info(bundle, &info, &error) == LAMINA_HUB_INVALID_ARGUMENT);
  CHECK(lamina_hub_bundle_info(nullptr, &info, &error) == LAMINA_HUB_INVALID_ARGUMENT);
  CHECK(lamina_hub_bundle_info(bundle, nullptr, &error) == LAMINA_HUB_INVALID_ARGUMENT);
  lamina_hub_bundle_close(bundle);
}

TEST_CASE("an error fits where it is written") {
  Host host;
  const std::string name = "org/" + std::string(3000, 'n') + "\xc3\xa4";
  lamina_hub_error error = fresh_error();
  lamina_hub_bundle *bundle = nullptr;
  CHECK(lamina_hub_fetch(host.open(), name.c_str(), &bundle, &error) == LAMINA_HUB_INVALID_ARGUMENT);
  CHECK(std::strlen(error.message) == sizeof error.message - 1);
  CHECK(std::string(error.message).ends_with("n..."));
  // Shorter than today's: nothing is written behind its end.
  for (const uint32_t size : {0u, 4u, 8u, 9u, 12u, 30u}) {
    error = fresh_error();
    error.struct_size = size;
    CHECK(lamina_hub_fetch(host.client, name.c_str(), &bundle, &error) == LAMINA_HUB_INVALID_ARGUMENT);
    CHECK(reinterpret_cast<const char *>(&error)[std::max(size, 4u)] == 'x');
    if (size > 8) CHECK(std::strlen(error.message) == size - 9);
  }
  // A cut never falls inside a character.
  std::string wide;
  for (int i = 0; i < 600; ++i) wide += "\xc3\xa4";
  for (const char *before : {"", "x"}) {
    error = fresh_error();
    lamina_hub_fetch(host.client, (before + wide).c_str(), &bundle, &error);
    const std::string cut = error.message;
    REQUIRE(cut.ends_with("..."));
    CHECK(static_cast<unsigned char>(cut[cut.size() - 4]) == 0xa4);
  }
  CHECK(lamina_hub_fetch(nullptr, "org/name", &bundle, &error) == LAMINA_HUB_INVALID_ARGUMENT);
  CHECK(has(error.message, "client is NULL"));
  CHECK(lamina_hub_fetch(host.client, nullptr, &bundle, &error) == LAMINA_HUB_INVALID_ARGUMENT);
  CHECK(lamina_hub_fetch(host.client, "org/name", nullptr, nullptr) == LAMINA_HUB_INVALID_ARGUMENT);
  lamina_hub_close(nullptr), lamina_hub_bundle_close(nullptr), lamina_hub_binding_close(nullptr);
}

TEST_CASE("one client and one bundle serve many threads") {
  Host host;
  lamina_hub_bundle *bundle = host.fetch();
  const Checkpoint checkpoint(host.folder / "model.safetensors");
  std::vector<const lamina_library *> libraries(8, nullptr);
  std::vector<int> failures(8, 0);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < libraries.size(); ++i)
    threads.emplace_back([&, i] {
      lamina_hub_bundle *own = nullptr;
      lamina_hub_binding *binding = nullptr;
      failures[i] += lamina_hub_fetch(host.client, repository.c_str(), &own, nullptr) != LAMINA_HUB_OK;
      failures[i] += lamina_hub_load(bundle, &libraries[i], nullptr) != LAMINA_HUB_OK;
      failures[i] += lamina_hub_bind(bundle, &checkpoint.given, &binding, nullptr) != LAMINA_HUB_OK;
      lamina_hub_binding_close(binding);
      lamina_hub_bundle_close(own);
    });
  for (std::thread &thread : threads) thread.join();
  for (size_t i = 0; i < libraries.size(); ++i) {
    CHECK(failures[i] == 0);
    CHECK(libraries[i] == libraries[0]);
  }
  lamina_hub_bundle_close(bundle);
}
