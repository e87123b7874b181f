// Answers that several routes give.
#pragma once
#include "hub_client/server_routes.h"
#include "manifest/digest.h"
#include "manifest/json.h"

namespace lamina::hub {

inline Answer json_answer(const manifest::Json &value, int status = 200) {
  Answer answer;
  answer.status = status;
  answer.headers["Content-Type"] = "application/json; charset=utf-8";
  answer.body = value.dump(-1, ' ', false, manifest::Json::error_handler_t::replace);
  return answer;
}

// The hub's own codes tell clients what kind of 404 it is.
inline Answer failed(int status, const std::string &code, const std::string &message) {
  Answer answer = json_answer({{"error", message}}, status);
  if (!code.empty()) answer.headers["X-Error-Code"] = code;
  answer.headers["X-Error-Message"] = message;
  return answer;
}

struct Refused {  // ends a route early
  Answer answer;
};

// What an LFS upload's address carries instead of the token.
inline std::string permit_for(const std::string &token, const std::string &sha256) { return manifest::sha256_hex(token + "\n" + sha256); }

}  // namespace lamina::hub
