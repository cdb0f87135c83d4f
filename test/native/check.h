// Checks that say where they failed; a test is a main() that returns report().
#pragma once
#include <cstdio>
#include <cstring>
#include <string>

inline int& failures() {
  static int count = 0;
  return count;
}

#define CHECK(condition)                                                     \
  do {                                                                       \
    if (!(condition)) {                                                      \
      failures()++;                                                          \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);        \
    }                                                                        \
  } while (0)

// The statement must throw a heddle::Error of this code whose message contains the text.
#define CHECK_ERROR(statement, expected_code, text)                                                               \
  do {                                                                                                            \
    std::string found = "no error";                                                                               \
    try {                                                                                                         \
      statement;                                                                                                  \
    } catch (const heddle::Error& error) {                                                                        \
      found = std::string(error.code) + ": " + error.what();                                                      \
    }                                                                                                             \
    if (found.rfind(expected_code, 0) != 0 || found.find(text) == std::string::npos) {                            \
      failures()++;                                                                                               \
      fprintf(stderr, "%s:%d: wanted %s '%s', got %s\n", __FILE__, __LINE__, expected_code, text, found.c_str()); \
    }                                                                                                             \
  } while (0)

inline int report(const char* name) {
  if (failures() == 0) printf("%s: passed\n", name);
  else fprintf(stderr, "%s: %d checks failed\n", name, failures());
  return failures() == 0 ? 0 : 1;
}
