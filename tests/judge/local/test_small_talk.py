"""Small talk after an answer says nothing of it: no greeting, wish or thanks moves a reward, in four languages."""

import pytest

from bandstand.judge.gate import applied
from bandstand.judge.turn import Turn
from tests.judge.given import FOLLOWUP, local

_ANSWERED = {
    "en": (
        "How do I bake bread?",
        "Mix flour, water, salt and yeast, let it rise, bake it at 230 degrees.",
    ),
    "de": ("Wie backe ich ein Brot?", "Mehl, Wasser, Salz und Hefe mischen, gehen lassen und bei 230 Grad backen."),
    "es": ("¿Cómo hago un pan sencillo?", "Mezcla harina, agua, sal y levadura, deja reposar y hornea a 230 grados."),
    "zh": ("怎么做简单的面包？", "把面粉、水、盐和酵母混合，发酵两小时，230度烤。"),
}
_SAID = {
    "en": "hi|Good morning|thanks|thanks a lot, bye|ok|I see|lol|Nice weather today!|who are you?|how are you?"
    "|what's your name?"
    "|I'm bored|happy birthday!|have a nice weekend|no thanks|see you tomorrow|🙂|👋|🙏",
    "de": "Hallo|Guten Morgen|danke|vielen Dank!|ok|alles klar|haha|Schönes Wetter heute|mir ist langweilig"
    "|Wer bist du?|Wie geht's?|Wie heißt du?|schönes Wochenende|nein danke|bis morgen",
    "es": "hola|Buenos días|¿Cómo estás?|gracias|¡Muchas gracias!|vale|entendido|jaja|Qué buen tiempo hace|¿Qué pasa?"
    "|¿Quién eres?|¿Cómo te llamas?"
    "|Buen fin de semana|no, gracias|hasta mañana",
    "zh": "你好|早上好|你好吗？|谢谢|非常感谢！|好的|知道了|哈哈|今天天气真好|我好无聊|你是谁？"
    "|你叫什么名字？|周末愉快|不用了，谢谢"
    "|对不起|明天见",
}


@pytest.mark.parametrize("language", _SAID)
def test_small_talk_moves_no_reward(language: str) -> None:
    judged = {
        message: applied(local().verdict(Turn(*_ANSWERED[language], message).cut()), FOLLOWUP).reward
        for message in _SAID[language].split("|")
    }
    assert {message: reward for message, reward in judged.items() if reward} == {}
