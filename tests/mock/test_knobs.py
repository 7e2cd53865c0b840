import pytest

from gateway.mock.knobs import Knobs, parse_fail, parse_latency


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("users=50ms", 0.05),
        ("users=0.2s", 0.2),
        ("users=1m", 60),
        (" users = 1.5s ", 1.5),
        ("users=0ms", 0),
    ],
)
def test_a_latency_is_read_in_seconds(text: str, seconds: float) -> None:
    name, read = parse_latency(text)
    assert name == "users"
    assert read == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "rate"), [("weather=0.2", 0.2), ("weather=1.0", 1), ("weather=0", 0)]
)
def test_a_failure_rate_is_read(text: str, rate: float) -> None:
    assert parse_fail(text) == ("weather", rate)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("users", "write a name and a value, like users=50ms"),
        ("user=50ms", "there is no mock 'user'; did you mean users?"),
        ("Weather=50ms", "did you mean weather?"),
        ("kittens=50ms", "the mocks are users, posts, comments, weather, geocoding"),
        ("users=50", "did you mean users=50ms?"),
        ("users=fast", "a latency is a number and a unit"),
        ("users=-1s", "write users=50ms"),
        ("users=", "write users=50ms"),
    ],
)
def test_a_wrong_latency_is_refused_with_the_right_way(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        parse_latency(text)
    assert hint in str(refused.value)
    assert repr(text) in str(refused.value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("weather", "like weather=0.2"),
        ("wether=0.2", "did you mean weather?"),
        ("weather=20", "did you mean weather=0.2?"),
        ("weather=-1", "from 0 to 1; write weather=0.2"),
        ("weather=1000", "from 0 to 1; write weather=0.2"),
        ("weather=often", "from 0 to 1"),
        ("weather=nan", "from 0 to 1"),
    ],
)
def test_a_wrong_failure_rate_is_refused_with_the_right_way(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        parse_fail(text)
    assert hint in str(refused.value)


def test_knobs_are_parsed_from_repeated_options_and_the_last_wins() -> None:
    knobs = Knobs.parse(["users=50ms", "users=1s", "posts=2s"], ["weather=0.2"])
    assert dict(knobs.latency) == {"users": 1, "posts": 2}
    assert dict(knobs.fail) == {"weather": 0.2}


def test_posts_cover_comments_and_weather_covers_geocoding() -> None:
    knobs = Knobs.parse(["posts=1s"], ["weather=0.5"])
    assert [knobs.latency_of(name) for name in ("users", "posts", "comments")] == [0, 1, 1]
    assert [knobs.fail_of(name) for name in ("posts", "weather", "geocoding")] == [0, 0.5, 0.5]


def test_the_finer_name_wins_even_when_it_switches_the_fault_off() -> None:
    knobs = Knobs.parse(["posts=1s", "comments=0ms"], ["weather=0.5", "geocoding=1"])
    assert (knobs.latency_of("posts"), knobs.latency_of("comments")) == (1, 0)
    assert (knobs.fail_of("weather"), knobs.fail_of("geocoding")) == (0.5, 1)
