"""Whatever holds of an engine here holds through a front: the tests of ``tests/serve``, asked of an upstream."""

# ruff: noqa: F401
from test_bad_requests import (
    test_a_prompt_that_is_too_long_says_by_how_much,
    test_bodies_that_are_no_json_and_wrong_methods,
    test_fields_that_ask_for_nothing_are_accepted,
    test_tokens_and_texts,
    test_unknown_models_and_paths_are_404,
    test_whatever_comes_is_answered_or_refused_in_form,
    test_wrong_and_unsupported_fields_are_named,
)
from test_chat_completions import (
    test_a_stream_adds_up_to_the_whole_answer as test_a_chat_stream_adds_up_to_the_whole_answer,
)
from test_chat_completions import (
    test_control_tokens_that_strangers_type_are_plain_text,
    test_parts_of_text_and_prompt_logprobs_are_understood,
    test_reasoning_stands_apart_from_the_answer,
    test_the_answer_is_the_engine_s,
)
from test_completions import *  # noqa: F403
from test_connections import (
    body,
    test_a_client_that_leaves_a_stream_frees_its_place,
    test_a_client_that_leaves_before_the_whole_answer_frees_its_place,
    test_a_client_that_leaves_while_it_waits_is_forgotten,
    test_a_full_queue_is_429_with_the_time_to_come_again,
    test_fifty_streams_at_once_say_what_each_would_alone,
    test_the_event_loop_answers_while_a_long_prompt_goes_through,
)
from test_embeddings import *  # noqa: F403
