// What the environment says: endpoint, token, cache, offline.  The names and their order are those of the Python libraries.
#pragma once
#include <filesystem>
#include <map>
#include <string>

namespace lamina::hub {

struct Environment {
  std::string endpoint = "https://huggingface.co";             // HF_ENDPOINT, without a final '/'
  std::string token;                                           // HF_TOKEN, HUGGING_FACE_HUB_TOKEN, or the file; empty: none
  std::string token_source;                                    // where it came from, for messages; the token itself is never printed
  std::filesystem::path cache;                                 // KERNELS_CACHE, HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, $HF_HOME/hub
  bool offline = false;                                        // HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE
  bool no_progress = false;                                    // HF_HUB_DISABLE_PROGRESS_BARS
  std::map<std::string, std::filesystem::path> local_kernels;  // LOCAL_KERNELS: org/name=folder[:...]
  long timeout_seconds = 10;                                   // HF_HUB_DOWNLOAD_TIMEOUT: without a byte the other side is gone
  std::string ca_file;                                         // SSL_CERT_FILE, REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE
  std::filesystem::path state;                                 // $XDG_STATE_HOME/lamina; empty: nothing is remembered
  std::filesystem::path trust_file;                            // $XDG_CONFIG_HOME/lamina/trust.json
  std::filesystem::path site_trust_file = "/etc/lamina/trust.json";
  std::map<std::string, std::string> sources;  // setting -> the variable that decided it, for `lamina doctor`
};

// Reads the process's environment.  Errors: invalid_argument for an endpoint that is no http(s) address.
Environment read_environment();

}  // namespace lamina::hub
