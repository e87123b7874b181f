// lamina keygen: an Ed25519 key pair in minisign's files.
#include <cstdio>
#include <filesystem>

#include "manifest/error.h"
#include "manifest/files.h"
#include "manifest/minisign.h"
#include "verbs.h"

namespace lamina::cli {

void add_keygen(CLI::App &app) {
  auto out = std::make_shared<std::string>();
  CLI::App *verb = app.add_subcommand("keygen",
                                      "Make a key pair: NAME.pub to give away, NAME.sec (mode 0600, not encrypted) to sign with.\n"
                                      "Both are minisign's formats; an existing file is never overwritten.\n\n"
                                      "  lamina keygen --out org-2026");
  verb->add_option("--out", *out, "NAME: path without ending")->required();
  verb->callback([out] {
    const std::string secret = *out + ".sec", open = *out + ".pub";
    for (const std::string &file : {secret, open})
      if (std::filesystem::exists(file)) throw Error(ErrorKind::conflict, file + " exists; a key is never overwritten");
    const manifest::SecretKey key = manifest::make_key();
    manifest::write_file_atomically(secret, manifest::secret_key_file(key), 0600);
    manifest::write_file_atomically(open, manifest::public_key_file(key.public_key()));
    std::printf("wrote %s (secret) and %s\nkey %s, fingerprint %s\n", secret.c_str(), open.c_str(), key.public_key().id_text().c_str(),
                key.public_key().fingerprint().c_str());
  });
}

}  // namespace lamina::cli
