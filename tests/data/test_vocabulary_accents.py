"""`vocab --strip-accents auto`: a new vocabulary keeps a language's distinctions, says why, and opens in `transformers` with equal ids."""

from __future__ import annotations

import json
import lzma
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from conformance import case

import electra
from electra.cli import main
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.data.vocabulary import accent_rule, case_warnings, train_tokenizer
from electra.errors import UserError

KEPT = {
    "Vietnamese": (
        "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền. Mọi con người đều được tạo hóa ban cho "
        "lý trí và lương tâm và cần phải đối xử với nhau trong tình anh em. Má tôi đi chợ mua gạo mà không mua mạ. Con ma "
        "trong câu chuyện của bà làm lũ trẻ sợ. Bà bán bánh ở bàn bên cạnh."
    ),
    "Hindi": (
        "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है। उन्हें बुद्धि और अन्तरात्मा "
        "की देन प्राप्त है और परस्पर उन्हें भाईचारे के भाव से बर्ताव करना चाहिए। वह दिन में काम करता है और रात में किताब "
        "पढ़ती है। कल की बात कुल में नहीं है।"
    ),
    "Thai": (
        "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ต่างมีเหตุผ"
        "ลและมโนธรรม และควรปฏิบัติต่อกันด้วยเจตนารมณ์แห่งภราดรภาพ ใคร ขาย ไข่ ไก่ ใก"
        "ล้ ไกล ปา ป่า ป้า มา ม้า หมา"
    ),
    "Japanese kana": (
        "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。人間は、理性と良心とを授けられており、互いに同胞の精神をもって行動"
        "しなければならない。かき が あります。ガラス と カラス は ちがう。バス で パス を かう。"
    ),
    "Korean": (
        "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 인간은 천부적으로 이성과 양심을 "
        "부여받았으며 서로 형제애의 정신으로 행동하여야 한다."
    ),
    "Arabic": (
        "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق. وقد وهبوا عقلا وضميرا وعليهم أن يعامل بعضهم بعضا بروح الإخاء. "
        "قال إن الولد ذهب إلى المدرسة وإنه قرأ أن الكتاب جديد. لكل إنسان حق التمتع بكافة الحقوق والحريات الواردة في هذا "
        "الإعلان دون أي تمييز."
    ),
    "Arabic with harakat": (
        "يُولَدُ جَمِيعُ النَّاسِ أَحْرَارًا مُتَسَاوِينَ فِي الْكَرَامَةِ وَالْحُقُوقِ. وَقَدْ وُهِبُوا عَقْلًا وَضَمِيرًا "
        "وَعَلَيْهِمْ أَنْ يُعَامِلَ بَعْضُهُمْ بَعْضًا بِرُوحِ الْإِخَاءِ. كَتَبَ الْوَلَدُ وَكُتِبَ الْكِتَابُ وَقَرَأَ "
        "الْكُتُبَ."
    ),
    "Turkish": (
        "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. Akıl ve vicdana sahiptirler ve birbirlerine karşı "
        "kardeşlik zihniyeti ile hareket etmelidirler. İstanbul ve Iğdır arasında kış günü kar yağıyor. Oldu mu, öldü mü? "
        "Ilık su ile ilik aynı değildir. Işık açık."
    ),
    "German": (
        "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt und "
        "sollen einander im Geist der Brüderlichkeit begegnen. Es war schon spät, und das Haus war schön. Er konnte gehen, "
        "wenn er könnte, würde er bleiben; es wurde kalt. Die Straße ist groß, für über fünf Männer."
    ),
    "French": (
        "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de conscience "
        "et doivent agir les uns envers les autres dans un esprit de fraternité. Il a donné le livre à la femme qui habite "
        "là, ou peut-être à celle où il a dîné. Le pêcheur a péché. Il est sûr que la carte est sur la table."
    ),
    "Czech": (
        "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv. Jsou nadáni rozumem a svědomím a mají spolu "
        "jednat v duchu bratrství. Dal mi dál byt, kde chce být. Pas a pás, rada a ráda, ze země že je malá."
    ),
    "Yoruba": (
        "Gbogbo ènìyàn ni a bí ní òmìnira; iyì àti ẹ̀tọ́ kọ̀ọ̀kan sì dọ́gba. Wọ́n ní ẹ̀bùn ti làákàyè àti ti ẹ̀rí-ọkàn, ó sì "
        "yẹ kí wọn ó máa hùwà sí ara wọn gẹ́gẹ́ bí ọmọ ìyá. Ọkọ̀ àti ọkọ, ọkọ́ àti ọ̀kọ̀; ọwọ́ àti ọ̀wọ̀, owó àti òwò."
    ),
    "Hebrew with niqqud": ("בְּרֵאשִׁית בָּרָא אֱלֹהִים אֵת הַשָּׁמַיִם וְאֵת הָאָרֶץ. וְהָאָרֶץ הָיְתָה תֹהוּ וָבֹהוּ וְחֹשֶׁךְ עַל פְּנֵי תְהוֹם. סֵפֶר וְסָפַר וְסַפָּר."),
    "Greek": (
        "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα. Είναι προικισμένοι με λογική "
        "και συνείδηση, και οφείλουν να συμπεριφέρονται μεταξύ τους με πνεύμα αδελφοσύνης. Πότε ή ποτέ; η νόμος, ο νομός. Ο "
        "ΔΡΌΜΟΣ."
    ),
    "Russian": (
        "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью и должны "
        "поступать в отношении друг друга в духе братства. Мой мои, твой твои; всё и все; этот край и края."
    ),
    "Spanish": (
        "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de razón y conciencia, "
        "deben comportarse fraternalmente los unos con los otros. El libro es para él; sí, si tú quieres tu té, te lo doy. "
        "Ano y año no son lo mismo."
    ),
    "Italian": (
        "Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti. Essi sono dotati di ragione e di coscienza e "
        "devono agire gli uni verso gli altri in spirito di fratellanza. La casa è là, e si dice di sì. Non so se ne parlò o "
        "ne parlo."
    ),
    "Polish": (
        "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są oni obdarzeni rozumem i "
        "sumieniem i powinni postępować wobec innych w duchu braterstwa. Sad i sąd, kat i kąt."
    ),
    "Swedish": (
        "Alla människor är födda fria och lika i värde och rättigheter. De är utrustade med förnuft och samvete och bör "
        "handla gentemot varandra i en anda av broderskap. Han har ett hår i får och en far, en ö och ett o."
    ),
    "Portuguese": (
        "Todos os seres humanos nascem livres e iguais em dignidade e em direitos. Dotados de razão e de consciência, devem "
        "agir uns para com os outros em espírito de fraternidade. O avô e a avó, e a casa é da mãe; o pais, o país; às as."
    ),
    "Hungarian": (
        "Minden emberi lény szabadon születik és egyenlő méltósága és joga van. Az emberek, ésszel és lelkiismerettel "
        "bírván, egymással szemben testvéri szellemben kell hogy viseltessenek. Kor, kór, kör, őr, ör."
    ),
    "Tamil": "மனிதப் பிறவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்; அவர்கள் மதிப்பிலும், உரிமைகளிலும் சமமானவர்கள்.",
}
PAIRS = {
    "Vietnamese": "ma má mạ",
    "Hindi": "कल कुल",
    "Thai": "มา ม้า",
    "Japanese kana": "かき がき カラス ガラス",
    "Korean": "인 간 태",
    "Arabic": "أن إن ان",
    "Arabic with harakat": "كَتَبَ كُتِبَ",
    "Turkish": "oldu öldü",
    "German": "schon schön",
    "French": "ou où",
    "Czech": "byt být",
    "Yoruba": "ọkọ ọkọ̀ ọkọ́",
    "Hebrew with niqqud": "סֵפֶר סָפַר",
    "Greek": "πότε ποτέ",
    "Russian": "мой мои",
}
ENGLISH = (
    "All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience and should act towards "
    "one another in a spirit of brotherhood. Everyone is entitled to all the rights and freedoms set forth in this Declaration, without "
    "distinction of any kind. We met at the {} near the station. No one shall be held in slavery or servitude; slavery and the slave trade "
    "shall be prohibited in all their forms. Everyone has the right to recognition everywhere as a person before the law."
)
STRIPPED = {
    "English": "\n".join(ENGLISH.format(place) for place in ("café", "café", "cafe", "bank")),
    "Indonesian": "Semua orang dilahirkan merdeka dan mempunyai martabat dan hak-hak yang sama. Mereka dikaruniai akal dan hati nurani.",
    "Chinese": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。" * 4 + "妈 mā",
    "numbers": "1 2 3 ½ 4",
}
LANGUAGES = [case(n, form=f"new vocabulary, {n}", where="vocab", outcome="exact", section="tokenizers") for n in (*KEPT, *STRIPPED)]


def counted(text: str) -> Counter[str]:
    spaced = "".join(f" {letter} " if "一" <= letter <= "鿿" else letter for letter in text.lower())
    return Counter("".join(letter if letter.isalpha() or unicodedata.category(letter)[0] == "M" else " " for letter in spaced).split())


@pytest.fixture(scope="module", params=LANGUAGES)
def language(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Path]:
    """Name, text, and the folder of a vocabulary made of it by the command."""
    text = KEPT.get(request.param) or STRIPPED[request.param]
    place = tmp_path_factory.mktemp("language")
    (place / "corpus.txt").write_text("\n\n".join([text] * 5), encoding="utf-8")
    assert main(["vocab", str(place / "corpus.txt"), "--size", "400", "--output", str(place / "vocab")]) == 0
    return request.param, text, place / "vocab"


def test_accents_are_kept_where_they_tell_words_apart(language: tuple[str, str, Path]) -> None:
    name, _, folder = language
    stored = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))["strip_accents"]
    assert stored is (name in STRIPPED)
    tokenizer = load_tokenizer(folder)
    pairs = PAIRS.get(name, "").split()
    assert len({tuple(ids) for ids in tokenizer.encode(pairs)}) == len(pairs)
    jamo_or_marks = [p for p in tokenizer.pieces if any("\u1100" <= c <= "\u11ff" or c in "\u3099\u309a" for c in p)]
    assert not jamo_or_marks


def test_transformers_gives_the_same_ids(language: tuple[str, str, Path]) -> None:
    from transformers import AutoTokenizer

    _, text, folder = language
    auto, tokenizer = AutoTokenizer.from_pretrained(folder), load_tokenizer(folder)
    for sample in (text, text.upper(), unicodedata.normalize("NFD", text), f"{text[:9]} 😀 x{text[-3:]}"):
        assert auto(sample, add_special_tokens=False)["input_ids"] == tokenizer.encode([sample])[0]


@pytest.mark.parametrize("name", [*KEPT, *STRIPPED])
def test_the_rule_decides_by_the_words_alone(name: str) -> None:
    strip, reason = accent_rule(counted(KEPT.get(name) or STRIPPED[name]))
    assert strip is (name in STRIPPED)
    assert reason.startswith(f"accents are {'stripped' if strip else 'kept'}: stripping them would change ")


def test_the_limits_of_the_rule() -> None:
    def kept(**counts: int) -> bool:
        return not accent_rule(counts)[0]

    assert kept(a=950, é=50) and not kept(a=951, é=49)
    assert kept(a=970, ou=10, où=20) and not kept(a=970, ou=1, où=29) and not kept(a=985, ou=10, où=5)
    assert kept(a=990, か=0, が=10) and not kept(a=991, が=9)
    assert accent_rule({}) == accent_rule({"1": 5, ",": 9}) and accent_rule({})[0]
    strip, reason = accent_rule({"ma": 9, "má": 9, "mà": 9, "mạ": 9})
    assert not strip
    assert reason == (
        "accents are kept: stripping them would change 75.00% of the words (Latin) and merge 75.00% with others "
        "(ma/mà, ma/má, ma/mạ) (--strip-accents off)"
    )


def test_english_wikipedia_is_stripped(data_root: Path) -> None:
    with lzma.open(data_root / "corpus-en" / "wikipedia-3.txt.xz", "rt", encoding="utf-8") as stream:
        strip, reason = accent_rule(counted(stream.read(2_000_000)))
    assert strip, reason


FLAGS = {
    "default": ([], False),
    "auto": (["--strip-accents", "auto"], False),
    "on": (["--strip-accents", "on"], True),
    "off": (["--strip-accents=off"], False),
    "alias": (["--strip-accents"], True),
    "no alias": (["--no-strip-accents"], False),
    "cased": (["--no-lowercase"], False),
    "cased, stripped": (["--no-lowercase", "--strip-accents"], True),
}


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", FLAGS)
def test_flags(name: str, first: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags, strip = FLAGS[name]
    corpus = tmp_path / "a.txt"
    corpus.write_text("ma má mà mạ\n" * 9, encoding="utf-8")
    words = [*flags, str(corpus)] if first else [str(corpus), *flags]
    assert main(["vocab", *words, "--size", "200", "--output", str(tmp_path / "vocab")]) == 0
    tokenizer = load_tokenizer(tmp_path / "vocab")
    assert tokenizer.strip_accents is strip
    assert json.loads((tmp_path / "vocab" / "tokenizer_config.json").read_text())["strip_accents"] is strip
    assert len({tuple(ids) for ids in tokenizer.encode("ma má mà mạ".split())}) == (1 if strip else 4)
    found = capsys.readouterr().err
    assert ("accents are kept" in found) is (name in ("default", "auto", "cased", "on", "alias"))
    assert ("warning: --strip-accents auto would decide otherwise; accents are kept: stripping" in found) is (name in ("on", "alias"))
    assert "unknown tokens: 0.00% (0 of " in found


def test_a_wrong_word_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("ma má")
    assert main(["vocab", str(tmp_path / "a.txt"), "--strip-accents=maybe", "--output", str(tmp_path / "v")]) == 2
    assert capsys.readouterr().err.strip().endswith("--strip-accents: 'maybe': expected auto, on, off")
    for value in ("maybe", 3):
        with pytest.raises(UserError, match="strip_accents"):
            electra.train_vocabulary(tmp_path / "a.txt", output=tmp_path / "v", strip_accents=value)  # type: ignore[arg-type]


@pytest.mark.parametrize(("value", "strip"), [(None, False), ("auto", False), ("on", True), (True, True), ("off", False), (False, False)])
def test_python_takes_the_same_values(value: bool | str | None, strip: bool, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("ma má mà mạ\n" * 9, encoding="utf-8")
    electra.train_vocabulary(tmp_path / "a.txt", output=tmp_path / "v", size=200, strip_accents=value)
    assert load_tokenizer(tmp_path / "v").strip_accents is strip


def test_what_lower_casing_loses_is_reported() -> None:
    assert "is another letter than ı" in case_warnings(counted(KEPT["Turkish"]))[0]
    assert "is another letter than ς" in case_warnings({"δρομοσ": 1, "ο": 20})[0]
    assert not [line for name, text in {**KEPT, **STRIPPED}.items() if name not in ("Turkish", "Greek") for line in case_warnings(counted(text))]


def lines_of(texts: list[str], **rules: bool) -> tuple[Tokenizer, list[str]]:
    lines: list[str] = []
    return train_tokenizer(iter(texts), 300, explain=lines.append, **rules), lines


SEGMENT = "; of text without spaces between words (Thai, Lao, Khmer, Burmese) segment it first, or such runs are lost"


def test_a_new_vocabulary_reports_what_it_does_not_know() -> None:
    rare = [chr(0x4E00 + index) for index in range(90)]
    _, lines = lines_of([f"the chef ate {'x' * 120} {letter}" for letter in rare])
    assert lines[0].startswith("accents are stripped") and lines[1].startswith("warning: unknown tokens: ")
    assert lines[2] == f"warning: unknown words of more than 100 characters: 90 ('{'x' * 24}... (120 characters)'){SEGMENT}"
