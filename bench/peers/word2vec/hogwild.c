// Skip-gram with negative sampling by the classic algorithm, as a peer for `heddle embed`: one pair at a time, threads that
// write to shared vectors without locks (Mikolov et al. 2013, arXiv:1310.4546; Niu et al. 2011, arXiv:1106.5730).
//
//   cc -O3 -march=native -ffast-math -pthread hogwild.c -lm -o hogwild
//   ./hogwild TEXT VECTORS [threads 2] [epochs 15] [size 100] [window 5] [negatives 5] [subsample 1e-4] [minimum count 5]
//
// Prints one JSON object with words a second; VECTORS is word2vec's text format, or - for none.
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SENTENCE 1000        // words between which windows reach
#define TABLE (1 << 24)      // entries of the table that negatives are drawn from
#define SIGMOID_STEPS 4096   // of the table over [-SIGMOID_LIMIT, SIGMOID_LIMIT]
#define SIGMOID_LIMIT 6.0f

typedef struct { char* text; int64_t count; } Word;

static int threads = 2, epochs = 15, size = 100, window = 5, negatives = 5;
static int64_t least = 5;
static double subsample = 1e-4;
static const float initial_rate = 0.025f;

static Word* words;
static int32_t vocabulary;
static int32_t *tokens, *table;
static int64_t token_count, done;
static float *input, *output, *sigmoid, *keep;

static uint64_t hash_of(const char* text, size_t length) {
  uint64_t hash = 14695981039346656037ull;  // FNV-1a
  for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)text[i]) * 1099511628211ull;
  return hash;
}

static int by_count(const void* a, const void* b) {
  const Word *x = a, *y = b;
  return x->count != y->count ? (x->count < y->count) - (x->count > y->count) : strcmp(x->text, y->text);
}

// Slot of a word in an open-addressing table of word numbers.
static int64_t find(const int32_t* slots, int64_t capacity, const char* text, size_t length) {
  int64_t at = hash_of(text, length) & (capacity - 1);
  while (slots[at] >= 0 && (strlen(words[slots[at]].text) != length || memcmp(words[slots[at]].text, text, length)))
    at = (at + 1) & (capacity - 1);
  return at;
}

static int next_word(char** at, char** begin, size_t* length) {
  while (**at == ' ' || **at == '\n') (*at)++;
  *begin = *at;
  while (**at && **at != ' ' && **at != '\n') (*at)++;
  *length = *at - *begin;
  return *length > 0;
}

static void read_corpus(const char* path) {
  FILE* file = fopen(path, "rb");
  if (!file) { perror(path); exit(1); }
  fseek(file, 0, SEEK_END);
  const long bytes = ftell(file);
  rewind(file);
  char* text = malloc(bytes + 1);
  if (fread(text, 1, bytes, file) != (size_t)bytes) exit(1);
  fclose(file);
  text[bytes] = 0;

  const int64_t capacity = 1 << 22;
  int32_t* slots = malloc(capacity * sizeof *slots);
  memset(slots, -1, capacity * sizeof *slots);
  words = malloc(capacity / 2 * sizeof *words);
  char *at = text, *begin;
  size_t length;
  int32_t distinct = 0;
  while (next_word(&at, &begin, &length)) {
    const int64_t slot = find(slots, capacity, begin, length);
    if (slots[slot] < 0) {
      if (distinct == capacity / 2) { fprintf(stderr, "too many distinct words\n"); exit(1); }
      words[distinct] = (Word){strndup(begin, length), 0};
      slots[slot] = distinct++;
    }
    words[slots[slot]].count++;
  }
  qsort(words, distinct, sizeof *words, by_count);
  while (vocabulary < distinct && words[vocabulary].count >= least) vocabulary++;

  memset(slots, -1, capacity * sizeof *slots);
  for (int32_t v = 0; v < vocabulary; v++) {
    slots[find(slots, capacity, words[v].text, strlen(words[v].text))] = v;
    token_count += words[v].count;
  }
  tokens = malloc(token_count * sizeof *tokens);
  int64_t filled = 0;
  for (at = text; next_word(&at, &begin, &length);) {
    const int32_t v = slots[find(slots, capacity, begin, length)];
    if (v >= 0) tokens[filled++] = v;
  }
  free(slots);
  free(text);
}

static uint64_t random_next(uint64_t* state) {
  *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;  // xorshift (Marsaglia 2003)
  return *state;
}
static float random_unit(uint64_t* state) { return (random_next(state) >> 40) * 0x1p-24f; }

static void prepare(void) {
  const size_t bytes = (size_t)vocabulary * size * sizeof(float);
  if (posix_memalign((void**)&input, 64, bytes) || posix_memalign((void**)&output, 64, bytes)) exit(1);
  memset(output, 0, bytes);
  uint64_t state = 1;
  for (int64_t i = 0; i < (int64_t)vocabulary * size; i++) input[i] = (random_unit(&state) - 0.5f) / size;

  keep = malloc(vocabulary * sizeof *keep);
  double total = 0;
  for (int32_t v = 0; v < vocabulary; v++) {
    const double frequency = (double)words[v].count / token_count;
    keep[v] = subsample > 0 ? sqrt(subsample / frequency) + subsample / frequency : 1;
    total += pow(words[v].count, 0.75);
  }
  table = malloc(TABLE * sizeof *table);
  double reached = 0;
  int64_t entry = 0;
  for (int32_t v = 0; v < vocabulary; v++) {
    reached += pow(words[v].count, 0.75) / total;
    for (; entry < TABLE && entry < reached * TABLE; entry++) table[entry] = v;
  }
  for (; entry < TABLE; entry++) table[entry] = vocabulary - 1;
  sigmoid = malloc((SIGMOID_STEPS + 1) * sizeof *sigmoid);
  for (int i = 0; i <= SIGMOID_STEPS; i++)
    sigmoid[i] = 1 / (1 + exp(-(i * 2.0 / SIGMOID_STEPS - 1) * SIGMOID_LIMIT));
}

static void train_pair(int32_t in, int32_t target, float rate, float* change, uint64_t* state) {
  float* x = input + (int64_t)in * size;
  memset(change, 0, size * sizeof *change);
  for (int n = 0; n <= negatives; n++) {
    const int32_t out = n == 0 ? target : table[random_next(state) >> 40];
    if (n > 0 && out == target) continue;
    float* y = output + (int64_t)out * size;
    float product = 0;
    for (int i = 0; i < size; i++) product += x[i] * y[i];
    const float p = product >= SIGMOID_LIMIT    ? 1
                    : product <= -SIGMOID_LIMIT ? 0
                                                : sigmoid[(int)((product / SIGMOID_LIMIT + 1) * (SIGMOID_STEPS / 2))];
    const float step = ((n == 0) - p) * rate;
    for (int i = 0; i < size; i++) change[i] += step * y[i];
    for (int i = 0; i < size; i++) y[i] += step * x[i];
  }
  for (int i = 0; i < size; i++) x[i] += change[i];
}

static void* work(void* argument) {
  const int64_t thread = (intptr_t)argument, first = token_count * thread / threads, last = token_count * (thread + 1) / threads;
  uint64_t state = 88172645463325252ull + thread;
  int32_t sentence[SENTENCE];
  float* change;
  if (posix_memalign((void**)&change, 64, size * sizeof *change)) exit(1);
  for (int epoch = 0; epoch < epochs; epoch++) {
    for (int64_t at = first; at < last;) {
      int length = 0;
      const int64_t begin = at;
      for (; length < SENTENCE && at < last; at++)
        if (keep[tokens[at]] >= random_unit(&state)) sentence[length++] = tokens[at];
      const float left = 1 - (float)done / ((float)epochs * token_count), rate = initial_rate * (left > 1e-4f ? left : 1e-4f);
      for (int centre = 0; centre < length; centre++) {
        const int reach = 1 + random_next(&state) % window;
        for (int other = centre - reach; other <= centre + reach; other++)
          if (other >= 0 && other < length && other != centre)
            train_pair(sentence[other], sentence[centre], rate, change, &state);
      }
      __atomic_fetch_add(&done, at - begin, __ATOMIC_RELAXED);
    }
  }
  free(change);
  return NULL;
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec + now.tv_nsec * 1e-9;
}

int main(int argc, char** argv) {
  if (argc < 3) { fprintf(stderr, "usage: hogwild TEXT VECTORS [threads epochs size window negatives subsample least]\n"); return 2; }
  if (argc > 3) threads = atoi(argv[3]);
  if (argc > 4) epochs = atoi(argv[4]);
  if (argc > 5) size = atoi(argv[5]);
  if (argc > 6) window = atoi(argv[6]);
  if (argc > 7) negatives = atoi(argv[7]);
  if (argc > 8) subsample = atof(argv[8]);
  if (argc > 9) least = atoll(argv[9]);
  read_corpus(argv[1]);
  prepare();
  const double started = seconds();
  pthread_t* ids = malloc(threads * sizeof *ids);
  for (intptr_t t = 0; t < threads; t++) pthread_create(&ids[t], NULL, work, (void*)t);
  for (int t = 0; t < threads; t++) pthread_join(ids[t], NULL);
  const double took = seconds() - started, trained = (double)token_count * epochs;
  printf("{\"vocabulary\":%d,\"words\":%lld,\"epochs\":%d,\"threads\":%d,\"seconds\":%.2f,\"wordsPerSecond\":%.0f}\n", vocabulary,
         (long long)token_count, epochs, threads, took, trained / took);
  if (strcmp(argv[2], "-")) {
    FILE* file = fopen(argv[2], "w");
    if (!file) { perror(argv[2]); return 1; }
    fprintf(file, "%d %d\n", vocabulary, size);
    for (int32_t v = 0; v < vocabulary; v++) {
      fputs(words[v].text, file);
      for (int i = 0; i < size; i++) fprintf(file, " %.6g", input[(int64_t)v * size + i]);
      fputc('\n', file);
    }
    fclose(file);
  }
  return 0;
}
