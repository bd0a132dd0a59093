/* What the test programs share: a check that ends the program, files, and a stand-in for a model. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "watermark.h"

#define CHECK(holds)                                                                                \
    do {                                                                                            \
        if (!(holds)) {                                                                             \
            fprintf(stderr, "%s:%d: %s does not hold; last error: %s\n", __FILE__, __LINE__, #holds, \
                    wm_last_error());                                                               \
            exit(1);                                                                                \
        }                                                                                           \
    } while (0)

#define OK(call) CHECK((call) == WM_STATUS_OK)

/* The file's bytes with a NUL behind them. */
static inline char *read_file(const char *path, size_t *n) {
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL);
    CHECK(fseek(file, 0, SEEK_END) == 0);
    long size = ftell(file);
    CHECK(size >= 0);
    rewind(file);
    char *bytes = (char *)malloc((size_t)size + 1);
    CHECK(bytes != NULL);
    CHECK(fread(bytes, 1, (size_t)size, file) == (size_t)size);
    bytes[size] = 0;
    *n = (size_t)size;
    fclose(file);
    return bytes;
}

/* The same logits in Rust: tests/c.rs. */
static inline void model(uint32_t step, float *logits, size_t vocab_size) {
    for (size_t v = 0; v < vocab_size; v++) {
        logits[v] = (float)((v * 31 + (size_t)step * 17) % 97) / 16.0f;
    }
}

/* A marker from files. */
static inline WmMarker *open_marker(const char *profile_path, const char *key_path) {
    size_t profile_len, key_len;
    char *profile = read_file(profile_path, &profile_len), *json = read_file(key_path, &key_len);
    WmKey *key;
    WmMarker *marker;
    OK(wm_key_open(json, key_len, NULL, &key));
    OK(wm_marker_new(profile, profile_len, key, &marker));
    wm_key_free(key);
    /* nothing that was handed in is needed any more */
    memset(profile, 0, profile_len);
    memset(json, 0, key_len);
    free(profile);
    free(json);
    return marker;
}

#endif
