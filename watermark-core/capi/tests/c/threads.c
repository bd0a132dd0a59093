/* One marker and one detector, many threads, a session in each; sessions that change threads; messages that do not.
 *
 *     threads profile.json key.json */
#include <pthread.h>

#include "check.h"

#define VOCAB 300
#define STEPS 150
#define THREADS 8

typedef struct {
    const WmMarker *marker;
    const WmDetector *detector;
    WmSession *session; /* half done, from the main thread */
    uint64_t seed;
    uint32_t tokens[STEPS];
    double log10_p;
} Work;

static void steps(WmSession *session, uint32_t from, uint32_t to) {
    float logits[VOCAB];
    uint32_t token;
    for (uint32_t at = from; at < to; at++) {
        model(at, logits, VOCAB);
        OK(wm_session_sample(session, logits, VOCAB, &token));
        OK(wm_session_accept(session, token));
    }
}

static WmSession *begin(const WmMarker *marker, uint64_t seed) {
    WmSessionOptions options = {.struct_size = sizeof options};
    WmSession *session;
    OK(wm_session_options_default(&options));
    options.seed = seed;
    OK(wm_session_new(marker, &options, &session));
    return session;
}

static void *work(void *argument) {
    Work *mine = (Work *)argument;
    WmTally *tally;
    WmFinding finding = {.struct_size = sizeof finding};
    WmSession *own = begin(mine->marker, mine->seed);
    uint32_t tokens[STEPS];
    size_t n;
    /* a message belongs to the thread whose call failed */
    CHECK(wm_last_error()[0] == 0);
    char path[32], *place;
    WmKey *key;
    snprintf(path, sizeof path, "Thread-%d", (int)mine->seed);
    uint8_t node[32] = {1};
    CHECK(wm_key_from_node(path, node, &key) == WM_STATUS_INVALID_PATH);
    steps(own, 0, STEPS);
    steps(mine->session, STEPS / 2, STEPS);
    place = strstr(wm_last_error(), path);
    CHECK(place != NULL);
    OK(wm_session_generated(own, tokens, STEPS, &n));
    OK(wm_session_generated(mine->session, mine->tokens, STEPS, &n));
    CHECK(n == STEPS && memcmp(tokens, mine->tokens, sizeof tokens) == 0);
    OK(wm_tally_new(mine->detector, &tally));
    OK(wm_tally_add(tally, NULL, 0, tokens, n));
    OK(wm_tally_finding(tally, 0, &finding));
    mine->log10_p = finding.log10_p;
    wm_tally_free(tally);
    wm_session_free(own);
    wm_session_free(mine->session);
    return NULL;
}

int main(int argc, char **argv) {
    size_t profile_len, json_len;
    CHECK(argc == 3);
    char *profile = read_file(argv[1], &profile_len), *json = read_file(argv[2], &json_len);
    WmKey *key;
    WmDetector *detector;
    WmMarker *marker = open_marker(argv[1], argv[2]);
    OK(wm_key_open(json, json_len, NULL, &key));
    OK(wm_detector_new(profile, profile_len, key, NULL, &detector));
    wm_key_free(key);
    free(profile), free(json);

    static Work works[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        WmSession *session = begin(marker, (uint64_t)i);
        steps(session, 0, STEPS / 2);
        works[i].marker = marker;
        works[i].detector = detector;
        works[i].session = session;
        works[i].seed = (uint64_t)i;
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, work, &works[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        WmSession *alone = begin(marker, (uint64_t)i);
        uint32_t tokens[STEPS];
        size_t n;
        steps(alone, 0, STEPS);
        OK(wm_session_generated(alone, tokens, STEPS, &n));
        CHECK(memcmp(tokens, works[i].tokens, sizeof tokens) == 0);
        CHECK(works[i].log10_p < -4.0);
        wm_session_free(alone);
    }
    wm_detector_free(detector);
    wm_marker_free(marker);
    puts("threads: ok");
    return 0;
}
