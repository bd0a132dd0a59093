/* What callers can do wrong: it is refused, named, and changes nothing.
 *
 *     errors profile.json key.json sealed.json passphrase account-profile.json key-hex-digits */
#include <ctype.h>
#include <math.h>

#include "check.h"

#define VOCAB 300

static const char *secret;

/* The call fails with this status, and its message is about `part` and holds nothing of the key. */
#define FAILS(call, status, part)                            \
    do {                                                     \
        CHECK((call) == (status));                           \
        CHECK(strstr(wm_last_error(), part) != NULL);        \
        no_secret(wm_last_error());                          \
    } while (0)
#define REFUSES(call, part) FAILS(call, WM_STATUS_INVALID_ARGUMENT, part)

/* No eight digits of the key in a row, in either case. */
static void no_secret(const char *message) {
    char lower[1024];
    size_t n = strlen(message);
    CHECK(n > 0 && n < sizeof lower);
    for (size_t i = 0; i <= n; i++) {
        lower[i] = (char)tolower((unsigned char)message[i]);
    }
    for (size_t i = 0; i + 8 <= 64; i++) {
        char part[9] = {0};
        memcpy(part, secret + i, 8);
        CHECK(strstr(lower, part) == NULL);
    }
}

static void keys(const char *json, size_t json_len, const char *sealed, size_t sealed_len, const char *passphrase) {
    WmKey *key = (WmKey *)&key, *below;
    WmPrf *prf;
    uint8_t bytes[32] = {0};
    uint32_t words[16];
    char changed[1024];
    REFUSES(wm_key_open(NULL, 5, NULL, &key), "json is NULL");
    CHECK(key == NULL);
    REFUSES(wm_key_open(json, json_len, NULL, NULL), "out is NULL");
    REFUSES(wm_key_open("\xff\xfe", 2, NULL, &key), "json is not UTF-8");
    REFUSES(wm_key_open(json, (size_t)-1, NULL, &key), "address space");
    FAILS(wm_key_open(NULL, 0, NULL, &key), WM_STATUS_INVALID_KEY_FILE, "not a key file");
    /* files that hold the key and are wrong in one place */
    CHECK(json_len + 2 < sizeof changed);
    for (size_t cut = 1; cut < json_len - 2; cut += 7) {
        CHECK(wm_key_open(json, cut, NULL, &key) == WM_STATUS_INVALID_KEY_FILE);
        no_secret(wm_last_error());
    }
    memcpy(changed, json, json_len + 1);
    strstr(changed, "watermark-key/1")[14] = '9';
    FAILS(wm_key_open(changed, json_len, NULL, &key), WM_STATUS_UNSUPPORTED_VERSION, "watermark-key/1");
    memcpy(changed, json, json_len + 1);
    *strstr(changed, "}") = ',';
    FAILS(wm_key_open(changed, json_len, NULL, &key), WM_STATUS_INVALID_KEY_FILE, "line ");
    memcpy(changed, json, json_len + 1);
    strstr(changed, secret)[5] = 'x';
    FAILS(wm_key_open(changed, json_len, NULL, &key), WM_STATUS_INVALID_KEY_FILE, "64 hexadecimal digits");

    FAILS(wm_key_open(sealed, sealed_len, NULL, &key), WM_STATUS_MISSING_INPUT, "passphrase");
    FAILS(wm_key_open(sealed, sealed_len, "another", &key), WM_STATUS_WRONG_PASSPHRASE, "passphrase");
    OK(wm_key_open(sealed, sealed_len, passphrase, &key));
    FAILS(wm_key_descend(key, "epoch//1", &below), WM_STATUS_INVALID_PATH, "epoch//1");
    REFUSES(wm_key_descend(key, NULL, &below), "path is NULL");
    REFUSES(wm_key_descend(NULL, "epoch", &below), "key is NULL");
    OK(wm_key_descend(key, "epoch/2", &below));
    wm_key_free(key);
    FAILS(wm_key_descend(below, "epoch/1", &key), WM_STATUS_OUTSIDE_SUBTREE, "epoch/2");
    FAILS(wm_prf_derive(below, "gumbel", 9, &prf), WM_STATUS_INVALID_PARAMETER, "9");
    REFUSES(wm_prf_derive(below, NULL, 1, &prf), "scheme is NULL");
    REFUSES(wm_key_commitment(below, bytes, NULL), "commitment is NULL");
    REFUSES(wm_key_commitment(below, NULL, bytes), "salt is NULL");
    wm_key_free(below);
    REFUSES(wm_key_from_master(bytes, 31, &key), "31 bytes");
    REFUSES(wm_key_from_node("", NULL, &key), "node is NULL");
    REFUSES(wm_prf_new(NULL, 1, &prf), "prf_key is NULL");
    OK(wm_prf_new(bytes, 2, &prf));
    REFUSES(wm_prf_context_words(prf, words, 1, words), "1 context tokens for a width of 2");
    words[0] = 1u << 24;
    FAILS(wm_prf_words(prf, words, 2, words, 1, words), WM_STATUS_TOKEN_OUT_OF_RANGE, "16777216");
    words[0] = 1, words[1] = 2;
    REFUSES(wm_prf_words(prf, words, 2, NULL, 1, words), "tokens is NULL");
    REFUSES(wm_prf_words(NULL, words, 2, words, 1, words), "prf is NULL");
    wm_prf_free(prf);
}

static void markers(const char *profile, size_t profile_len, const WmKey *key, WmMarker **marker) {
    WmKey *elsewhere;
    REFUSES(wm_marker_new(profile, profile_len, NULL, marker), "key is NULL");
    FAILS(wm_marker_new("{", 1, key, marker), WM_STATUS_INVALID_PROFILE, "");
    FAILS(wm_marker_new(profile, profile_len - 3, key, marker), WM_STATUS_INVALID_PROFILE, "");
    FAILS(wm_marker_new("{\"profile\": \"watermark-profile/9\"}", 34, key, marker), WM_STATUS_UNSUPPORTED_VERSION, "");
    CHECK(*marker == NULL);
    OK(wm_key_descend(key, "epoch/2", &elsewhere));
    FAILS(wm_marker_new(profile, profile_len, elsewhere, marker), WM_STATUS_OUTSIDE_SUBTREE, "epoch/2");
    wm_key_free(elsewhere);
    OK(wm_marker_new(profile, profile_len, key, marker));
}

static void options(const WmMarker *marker, const WmMarker *per_account) {
    WmSession *session;
    struct {
        WmSessionOptions options;
        uint64_t later[2];
    } newer;
    WmSessionOptions wrong;
    memset(&newer, 0xaa, sizeof newer);
    newer.options.struct_size = sizeof newer;
    OK(wm_session_options_default(&newer.options));
    CHECK(newer.options.struct_size == sizeof newer && newer.later[0] == 0 && newer.later[1] == 0);
    OK(wm_session_new(marker, &newer.options, &session));
    wm_session_free(session);
    newer.later[1] = 1;
    REFUSES(wm_session_new(marker, &newer.options, &session), "does not have");
    newer.options.struct_size = sizeof newer.options - 1;
    REFUSES(wm_session_new(marker, &newer.options, &session), "struct_size");
    REFUSES(wm_session_options_default(&newer.options), "struct_size");
    newer.options.struct_size = 0;
    REFUSES(wm_session_new(marker, &newer.options, &session), "struct_size");
    newer.options.struct_size = (size_t)-1;
    REFUSES(wm_session_new(marker, &newer.options, &session), "struct_size");
    REFUSES(wm_session_options_default(NULL), "options is NULL");

    wrong.struct_size = sizeof wrong;
    OK(wm_session_options_default(&wrong));
    wrong.marked = 2;
    REFUSES(wm_session_new(marker, &wrong, &session), "marked is 2");
    wrong.marked = 1;
    wrong.temperature = -1.0f;
    FAILS(wm_session_new(marker, &wrong, &session), WM_STATUS_INVALID_PARAMETER, "temperature");
    wrong.temperature = 1.0f;
    wrong.top_p = 1.5;
    FAILS(wm_session_new(marker, &wrong, &session), WM_STATUS_INVALID_PARAMETER, "top_p");
    wrong.top_p = 1.0;
    wrong.min_p = (double)NAN;
    FAILS(wm_session_new(marker, &wrong, &session), WM_STATUS_INVALID_PARAMETER, "min_p");
    wrong.min_p = 0.0;
    wrong.account = "\xff";
    REFUSES(wm_session_new(marker, &wrong, &session), "account is not UTF-8");
    wrong.account = NULL;
    FAILS(wm_session_new(per_account, &wrong, &session), WM_STATUS_MISSING_INPUT, "account");
    CHECK(wm_marker_has_account_layer(per_account) == 1 && wm_marker_has_account_layer(marker) == 0);
    wrong.account = "account-17";
    OK(wm_session_new(per_account, &wrong, &session));
    wm_session_free(session);
    FAILS(wm_session_new(marker, &wrong, &session), WM_STATUS_INVALID_PARAMETER, "leave it out");
    /* unmarked, no key is needed */
    wrong.account = NULL;
    wrong.marked = 0;
    OK(wm_session_new(per_account, &wrong, &session));
    wm_session_free(session);
    REFUSES(wm_session_new(NULL, NULL, &session), "marker is NULL");
}

static void sessions(const WmMarker *marker) {
    WmSession *session, *fork;
    float logits[VOCAB], row[VOCAB];
    uint32_t token = 99, ids[3] = {5, 5, 6};
    size_t n;
    WmMarkState state;
    OK(wm_session_new(marker, NULL, &session));
    model(0, logits, VOCAB);
    /* arguments: the session goes on as if nothing had been asked */
    REFUSES(wm_session_sample(session, logits, VOCAB - 1, &token), "a row of 299");
    REFUSES(wm_session_sample(session, logits, (size_t)-1, &token), "a row of");
    REFUSES(wm_session_sample(session, NULL, VOCAB, &token), "logits is NULL");
    REFUSES(wm_session_sample(session, (float *)((char *)logits + 1), VOCAB, &token), "not aligned");
    REFUSES(wm_session_sample(session, logits, VOCAB, NULL), "token is NULL");
    REFUSES(wm_session_sample(NULL, logits, VOCAB, &token), "session is NULL");
    REFUSES(wm_session_process(session, logits, 3), "a row of 3");
    REFUSES(wm_session_set_proxy(session, logits, 3), "a row of 3");
    REFUSES(wm_session_draft(session, logits, 3, &token), "a row of 3");
    REFUSES(wm_session_verify(session, logits, 0, &n), "n_rows is 0");
    REFUSES(wm_session_verify(session, logits, 2, &n), "n_rows is 2");
    REFUSES(wm_session_sample_among(session, ids, NULL, 3, &token), "logits is NULL");
    REFUSES(wm_session_generated(session, NULL, 0, NULL), "n is NULL");
    REFUSES(wm_session_mark_state(session, NULL), "state is NULL");
    REFUSES(wm_session_fork(NULL, &fork), "session is NULL");
    REFUSES(wm_session_reserve(session, (size_t)-1), "room for");
    REFUSES(wm_session_accept(NULL, 1), "session is NULL");
    REFUSES(wm_session_rollback(NULL, 1), "session is NULL");
    REFUSES(wm_session_reset(NULL), "session is NULL");
    CHECK(token == 99 && wm_session_error(session) == NULL && wm_session_error(NULL) == NULL);
    OK(wm_session_sample(session, logits, VOCAB, &token));
    CHECK(token < VOCAB);

    /* a buffer that is too short: the length is told, nothing is written */
    uint32_t tokens[2] = {77, 78};
    for (uint32_t i = 1; i <= 3; i++) {
        OK(wm_session_accept(session, i));
    }
    REFUSES(wm_session_generated(session, tokens, 2, &n), "3 tokens do not fit into 2");
    CHECK(n == 3 && tokens[0] == 77 && tokens[1] == 78);

    /* everything else sticks until a reset, in a fork too */
    memcpy(row, logits, sizeof row);
    row[7] = NAN;
    FAILS(wm_session_sample(session, row, VOCAB, &token), WM_STATUS_INVALID_LOGITS, "");
    CHECK(wm_session_error(session) != NULL && strcmp(wm_session_error(session), wm_last_error()) == 0);
    FAILS(wm_session_accept(session, 1), WM_STATUS_INVALID_LOGITS, "");
    FAILS(wm_session_sample(session, logits, VOCAB, &token), WM_STATUS_INVALID_LOGITS, "");
    OK(wm_session_fork(session, &fork));
    FAILS(wm_session_accept(fork, 1), WM_STATUS_INVALID_LOGITS, "");
    wm_session_free(fork);
    OK(wm_session_reset(session));
    CHECK(wm_session_error(session) == NULL);
    FAILS(wm_session_accept(session, VOCAB), WM_STATUS_TOKEN_OUT_OF_RANGE, "300");
    OK(wm_session_reset(session));
    for (size_t i = 0; i < VOCAB; i++) {
        row[i] = -INFINITY;
    }
    FAILS(wm_session_process(session, row, VOCAB), WM_STATUS_INVALID_LOGITS, "");
    OK(wm_session_reset(session));
    FAILS(wm_session_sample_among(session, ids, logits, 3, &token), WM_STATUS_INVALID_LOGITS, "");
    OK(wm_session_reset(session));
    FAILS(wm_session_sample_among(session, NULL, NULL, 0, &token), WM_STATUS_INVALID_LOGITS, "");
    OK(wm_session_reset(session));
    OK(wm_session_propose(session, 4));
    FAILS(wm_session_sample(session, logits, VOCAB, &token), WM_STATUS_INVALID_PARAMETER, "draft");
    OK(wm_session_reset(session));
    OK(wm_session_sample(session, logits, VOCAB, &token));
    OK(wm_session_mark_state(session, &state));
    CHECK(state == WM_MARK_STATE_NO_CONTEXT);
    wm_session_free(session);
}

static void bad_scheme(const char *json, const char *says) {
    WmScheme *scheme;
    FAILS(wm_scheme_parse(json, strlen(json), &scheme), WM_STATUS_INVALID_PARAMETER, says);
    CHECK(scheme == NULL);
}

static void detectors(const char *profile, size_t profile_len, const WmKey *key) {
    WmDetector *detector, *other;
    WmTally *tally, *stranger;
    WmFinding finding = {.struct_size = sizeof finding}, before;
    uint8_t bytes[32] = {0};
    uint32_t tokens[6] = {1, 2, 3, 4, 5, 1u << 24};
    uint64_t score;
    const char *greenlist = "{\"scheme\": \"greenlist\", \"gamma\": 0.5}";
    WmScheme *scheme;
    REFUSES(wm_detector_new(profile, profile_len, NULL, NULL, &detector), "key is NULL");
    FAILS(wm_detector_new("[]", 2, key, NULL, &detector), WM_STATUS_INVALID_PROFILE, "");
    OK(wm_detector_new(profile, profile_len, key, NULL, &detector));
    CHECK(wm_detector_n_layers(detector) == 2 && wm_detector_n_layers(NULL) == 0);
    OK(wm_tally_new(detector, &tally));
    OK(wm_tally_add(tally, NULL, 0, tokens, 5));
    for (size_t layer = 0; layer < 2; layer++) {
        OK(wm_tally_finding(tally, layer, &finding));
        CHECK(strcmp(finding.layer, layer == 0 ? "distillation" : "provenance") == 0);
        CHECK(finding.n_scored == (layer == 0 ? 4 : 1));
    }
    before = finding;
    FAILS(wm_tally_add(tally, NULL, 0, tokens, 6), WM_STATUS_TOKEN_OUT_OF_RANGE, "16777216");
    REFUSES(wm_tally_add(tally, NULL, 1, tokens, 5), "prompt is NULL");
    REFUSES(wm_tally_add(NULL, NULL, 0, tokens, 5), "tally is NULL");
    REFUSES(wm_tally_finding(tally, 2, &finding), "there are 2");
    REFUSES(wm_tally_finding(tally, 0, NULL), "finding is NULL");
    REFUSES(wm_tally_merge(tally, tally), "itself");
    OK(wm_tally_finding(tally, 1, &finding));
    CHECK(memcmp(&finding, &before, sizeof finding) == 0);
    finding.struct_size = 8;
    REFUSES(wm_tally_finding(tally, 0, &finding), "struct_size");

    OK(wm_scheme_parse(greenlist, strlen(greenlist), &scheme));
    OK(wm_detector_from_prf_key(scheme, 1, bytes, &other));
    OK(wm_tally_new(other, &stranger));
    REFUSES(wm_tally_merge(tally, stranger), "two detectors");
    REFUSES(wm_tally_merge(tally, NULL), "other is NULL");
    wm_detector_free(other);
    REFUSES(wm_detector_from_prf_key(NULL, 1, bytes, &other), "scheme is NULL");
    REFUSES(wm_detector_from_prf_key(scheme, 1, NULL, &other), "prf_key is NULL");
    FAILS(wm_detector_from_prf_key(scheme, 9, bytes, &other), WM_STATUS_INVALID_PARAMETER, "9");
    REFUSES(wm_scheme_score(NULL, 1, 0, &score), "scheme is NULL");
    REFUSES(wm_scheme_score(scheme, 1, 0, NULL), "score is NULL");
    wm_scheme_free(scheme);
    wm_scheme_free(NULL);
    bad_scheme("{\"scheme\": \"greenlist\", \"gamma\": 0.5, \"depth\": 3}", "greenlist does not take depth");
    bad_scheme("{\"scheme\": \"greenlist\", \"gamma\": 1.5}", "gamma is 1.5");
    bad_scheme("{\"scheme\": \"greenlist\"}", "greenlist needs gamma");
    bad_scheme("{\"scheme\": \"unheard-of\"}", "unheard-of");
    bad_scheme("{\"scheme\": \"gumbel\", \"sparkle\": 1}", "unknown field `sparkle`");
    bad_scheme("{\"gamma\": 0.5}", "missing field `scheme`");
    bad_scheme("{\"scheme\": \"greenlist\", \"gamma\": \"5a5a\"}", "wrong type");
    CHECK(strstr(wm_last_error(), "5a5a") == NULL);
    REFUSES(wm_scheme_parse(NULL, 3, &scheme), "scheme_json is NULL");
    wm_tally_free(tally);
    wm_tally_free(stranger);
    wm_detector_free(detector);
}

int main(int argc, char **argv) {
    size_t profile_len, json_len, sealed_len, account_len;
    CHECK(argc == 7);
    char *profile = read_file(argv[1], &profile_len), *json = read_file(argv[2], &json_len);
    char *sealed = read_file(argv[3], &sealed_len), *per_account = read_file(argv[5], &account_len);
    secret = argv[6];
    CHECK(strlen(secret) == 64 && strstr(json, secret) != NULL);
    CHECK(wm_last_error()[0] == 0);
    keys(json, json_len, sealed, sealed_len, argv[4]);

    WmKey *key;
    WmMarker *marker, *account_marker;
    OK(wm_key_open(json, json_len, NULL, &key));
    markers(profile, profile_len, key, &marker);
    OK(wm_marker_new(per_account, account_len, key, &account_marker));
    options(marker, account_marker);
    sessions(marker);
    detectors(profile, profile_len, key);
    wm_marker_free(marker);
    wm_marker_free(account_marker);
    wm_key_free(key);

    wm_key_free(NULL);
    wm_prf_free(NULL);
    wm_marker_free(NULL);
    wm_session_free(NULL);
    wm_detector_free(NULL);
    wm_tally_free(NULL);
    free(profile), free(json), free(sealed), free(per_account);
    puts("errors: ok");
    return 0;
}
