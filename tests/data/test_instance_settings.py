import pytest

from segalias_jax.data.instance_settings import InstanceSettings, read_instance_settings
from segalias_jax.errors import InputError
from segalias_jax.settings import documentation


def test_every_setting_is_documented():
    text = documentation(InstanceSettings, "data")
    assert "data.max_objects" in text and "data.dark_form" in text


def test_a_recipes_lists_are_read():
    section = {"source": "instance_maps", "id_map": [[24, 1], [7, 0]], "padded": [416, 608]}
    settings = read_instance_settings(section)
    assert settings.id_map == ((24, 1), (7, 0)) and settings.padded == (416, 608)
    assert read_instance_settings(settings) is settings


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        ({"source": "cocoo"}, "data.source is 'cocoo'; did you mean 'coco'"),
        ({"max_object": 3}, "data.max_object: unknown key; did you mean data.max_objects"),
        ({"padded": [400, 600]}, r"data.padded: \(400, 600\) is not two multiples of 32"),
        ({"short": [800, 640]}, r"data.short: \(800, 640\) is not \(smallest, largest\)"),
        ({"source": "instance_maps", "id_map": [[1, 2, 3]]}, "data.id_map: .* is not rows of"),
        ({"dark": 1.5}, "data.dark is 1.5"),
        ({"dark_pair": True}, "data.dark_pair: .* data.dark is 0"),
        ({"divisor": 1000}, "data.divisor: data.source='coco' does not read it"),
        ({"source": "cityscapes_instances", "classes": ["car"]}, "data.classes: data.source='city"),
    ],
)
def test_what_cannot_be_names_its_key(section, reason):
    with pytest.raises(InputError, match=reason):
        read_instance_settings({"source": "coco"} | section)
