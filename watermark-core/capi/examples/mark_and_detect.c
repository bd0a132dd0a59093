/* Marks a sequence and finds the mark again; needs no model and no download.
 *
 *     cargo build --release -p watermark-capi
 *     cc -I watermark-core/capi/include watermark-core/capi/examples/mark_and_detect.c \
 *        target/release/libwatermark.a -lpthread -ldl -lm -o mark_and_detect && ./mark_and_detect
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "watermark.h"

enum { VOCAB = 1000, STEPS = 200 };

static const char PROFILE[] =
    "{\"profile\": \"watermark-profile/1\", \"name\": \"example\", \"path\": \"epoch/2026-11\","
    " \"tokenizer\": {\"sha256\": \"0000000000000000000000000000000000000000000000000000000000000000\","
    "                 \"vocab_size\": 1000, \"special_token_ids\": [0]},"
    " \"layers\": ["
    "   {\"name\": \"distillation\", \"scheme\": \"greenlist\", \"gamma\": 0.5, \"delta\": 2.0, \"width\": 1, \"prf\": \"chacha20-v1\"},"
    "   {\"name\": \"provenance\", \"scheme\": \"gumbel\", \"width\": 4, \"prf\": \"chacha20-v1\"}],"
    " \"repeats\": \"unmarked\"}";

static void ok(WmStatus status) {
    if (status != WM_STATUS_OK) {
        fprintf(stderr, "error %d: %s\n", status, wm_last_error());
        exit(1);
    }
}

int main(void) {
    /* 32 bytes from the system's randomness in real use, or wm_key_open with what `watermark keygen` wrote */
    const unsigned char master[32] = "not a secret, as all can read it";
    WmKey *key;
    WmMarker *marker;
    ok(wm_key_from_master(master, sizeof master, &key));
    ok(wm_marker_new(PROFILE, strlen(PROFILE), key, &marker));

    WmSessionOptions options;
    options.struct_size = sizeof options;
    ok(wm_session_options_default(&options));
    options.seed = 7;
    options.temperature = 0.8f;
    options.top_k = 50;
    WmSession *session;
    ok(wm_session_new(marker, &options, &session));
    for (unsigned step = 0; step < STEPS; step++) {
        /* in place of a model: some logits that change from step to step */
        float logits[VOCAB];
        for (unsigned v = 0; v < VOCAB; v++) {
            logits[v] = (float)((v * 31 + step * 17) % 97) / 16.0f;
        }
        uint32_t token;
        ok(wm_session_sample(session, logits, VOCAB, &token));
        ok(wm_session_accept(session, token));
    }
    uint32_t tokens[STEPS];
    size_t n;
    ok(wm_session_generated(session, tokens, STEPS, &n));

    WmDetector *detector;
    WmTally *tally;
    ok(wm_detector_new(PROFILE, strlen(PROFILE), key, NULL, &detector));
    ok(wm_tally_new(detector, &tally));
    ok(wm_tally_add(tally, NULL, 0, tokens, n));
    for (size_t layer = 0; layer < wm_detector_n_layers(detector); layer++) {
        WmFinding finding;
        finding.struct_size = sizeof finding;
        ok(wm_tally_finding(tally, layer, &finding));
        printf("%s (%s): %llu pairs scored, log10 p = %.1f\n", finding.layer, finding.scheme,
               (unsigned long long)finding.n_scored, finding.log10_p);
    }
    wm_tally_free(tally);
    wm_detector_free(detector);
    wm_session_free(session);
    wm_marker_free(marker);
    wm_key_free(key);
    return 0;
}
