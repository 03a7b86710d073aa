% rebase('layout.tpl')
<div class="head"><h1>{{t("search.title")}}</h1></div>
<form class="filter look" action="{{url('search')}}" role="search" aria-label="{{t('menu.site')}}">
  <div class="field search"><label for="search-text">{{t("search.label")}}</label><input type="search" id="search-text" name="q" value="{{page.text}}" maxlength="200" dir="auto" data-search
% if not page.text:
    autofocus
% end
  ></div>
  <button class="button solid">{{t("search.button")}}</button>
</form>
% if page.unsearched:
<div class="notice bad" role="status"><p>{{t("search.unsearched")}}
%   for number, one in enumerate(page.unsearched):
{{", " if number else ""}}<a href="{{one.href}}"><bdi>{{one.title}}</bdi></a>\\
%   end
.</p></div>
% end
% if page.text:
<p class="note" role="status">{{t("search.count", n=page.count) if page.count else t("search.nothing")}}</p>
% end
% for group in page.groups:
<section class="found">
  <h2>
%   for one in group.above:
    <span class="note"><bdi>{{one}}</bdi> /</span>
%   end
    <bdi>{{group.title or t("search.pages")}}</bdi></h2>
  <ul class="links">
%   for hit in group.hits:
    <li><a href="{{hit.href}}"><span><strong><bdi>{{hit.title}}</bdi></strong>
%     if hit.text:
      <span class="note"><bdi>{{hit.text}}</bdi></span>
%     end
%     if hit.place:
      <span class="note">
%       for number, one in enumerate(hit.place):
{{" / " if number else ""}}<bdi>{{one}}</bdi>\\
%       end
</span>
%     end
    </span></a></li>
%   end
  </ul>
%   if group.more_href:
  <p class="more-hits"><a href="{{group.more_href}}">{{t("search.more", title=group.title)}}</a></p>
%   end
</section>
% end
